//! The arguments that choose a project, shared by the commands that look at one.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Place, Result};
use crate::project::{Origin, Project};

/// Which project, and what is set about it.
#[derive(Debug, Args)]
pub struct ProjectArgs {
    /// Project folder or SQL file.
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// What else says where the project is.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where a project's data is, and what is set about it.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Where state and the embedded log are [default: .eagre in the project folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A setting, as in SET or eagre.yaml; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ProjectArgs {
    /// Reads the project.
    pub fn open(&self) -> Result<Project> {
        self.place.apply(Project::open(&self.path)?)
    }
}

impl PlaceArgs {
    /// Adds what the flags say.
    pub fn apply(&self, mut project: Project) -> Result<Project> {
        for assignment in &self.set {
            project.set_from_flag(assignment)?;
        }
        if let Some(dir) = &self.data_dir {
            // The flag is typed where the user is, not where the project is.
            let dir = std::path::absolute(dir)?.display().to_string();
            project.settings.set("data-dir", &dir, Origin::Flag, Place::thing("--data-dir"))?;
        }
        Ok(project)
    }
}
