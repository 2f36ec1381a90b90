//! `eagre init`: a project folder that runs as it stands.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Make a project folder that runs as it stands, on the embedded log and a generator.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to make.
    dir: PathBuf,
}

/// The files of a new project.
const FILES: [(&str, &str); 7] = [
    ("README.md", include_str!("template/README.md")),
    ("eagre.yaml", include_str!("template/eagre.yaml")),
    (".gitignore", ".eagre/\n"),
    ("queries/10-orders.sql", include_str!("template/queries/10-orders.sql")),
    ("queries/20-metrics.sql", include_str!("template/queries/20-metrics.sql")),
    ("queries/latest.sql", include_str!("template/queries/latest.sql")),
    ("tests/revenue.yaml", include_str!("template/tests/revenue.yaml")),
];

/// Runs the command; returns the exit code.
pub async fn run(args: Args) -> Result<u8> {
    write(&args.dir)?;
    let dir = args.dir.display();
    super::print(&format!("made the project '{dir}'\n\n    eagre run {dir}\n    eagre sql {dir} -c 'SELECT * FROM revenue'\n"))?;
    Ok(0)
}

/// Writes the files; a folder with something in it is left alone.
fn write(dir: &Path) -> Result<()> {
    let fault = |path: &Path, error| Error::unreachable(format!("making '{}'", path.display())).because(error);
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::input(format!("'{}' is there already, with something in it; name a new folder", dir.display())));
    }
    for (name, text) in FILES {
        let path = dir.join(name);
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).map_err(|e| fault(folder, e))?;
        std::fs::write(&path, text).map_err(|e| fault(&path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::project::Project;

    #[test]
    fn a_new_project_has_no_faults_and_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("demo");
        write(&project).unwrap();
        let engine = Engine::load(Project::open(&project).unwrap()).unwrap();
        assert!(engine.is_unbounded());
        assert_eq!(engine.advice(), Vec::<String>::new());
        assert!(write(&project).unwrap_err().to_string().contains("is there already"));
    }
}
