//! The project: the folder a user writes, or a single SQL file, as one resolved thing.
//!
//! ```text
//!  eagre.yaml ─ yaml.rs ─▶ Layers ─ settings.rs ─▶ Settings
//!  queries/*.sql ────────▶ texts in the order of their names
//!  rules/*.yaml ─────────▶ files of rules in the order of their names
//!  tests/*.yaml ─────────▶ files of fixtures, read when they are asked for
//! ```
//! Comes in: a path. Goes out: settings, SQL texts with their names, and where things are. Nothing is parsed here but
//! `eagre.yaml`. Always holds: the same name of a setting means the same in the file, in `SET` and in `--set`.
//! Read `settings.rs` first.

mod address;
pub mod env;
mod flink_keys;
mod settings;
mod size;
pub mod topology;
mod yaml;

use std::path::{Path, PathBuf};

pub use settings::{Brokers, Layers, Origin, Settings, TimeZone};
pub use size::Size;

use crate::error::{Error, Place, Result, did_you_mean};

/// The file of settings in a project folder.
pub const SETTINGS_FILE: &str = "eagre.yaml";

/// The folder of SQL files in a project folder.
pub const QUERIES: &str = "queries";

/// The folder of rule files in a project folder.
pub const RULES: &str = "rules";

/// The folder of fixtures in a project folder.
pub const TESTS: &str = "tests";

/// The folder of a pipeline's checkpoints in its folder of the data directory.
const CHECKPOINTS: &str = "checkpoints";

/// Parts of a project that a later version reads: refused, rather than run as if they were not there.
const LATER: [&str; 2] = ["contracts", "sagas"];

/// A project as it is on disk.
#[derive(Debug, Clone)]
pub struct Project {
    /// Where relative paths start: the project folder, or the folder of the SQL file.
    pub base_dir: PathBuf,
    /// What the pipeline is called if no setting says otherwise.
    default_name: String,
    /// It is a SQL file, not a folder.
    is_file: bool,
    /// The SQL texts, in order.
    pub texts: Vec<SqlText>,
    /// The files of rules, in order.
    pub rules: Vec<RuleFile>,
    /// What was set so far: by `eagre.yaml`, and by whoever adds to it.
    pub settings: Layers,
}

/// A SQL text of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlText {
    /// Its file, as messages name it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A file of rules of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// Its file, as messages name it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A file of fixtures of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixtureFile {
    /// Its file, as messages name it.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Project {
    /// Reads the project at `path`: a folder, or a SQL file. Reports all faults of `eagre.yaml`.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Self::open_folder(path);
        }
        if !path.exists() {
            return Err(missing(path));
        }
        let base_dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let text = SqlText { name: path.display().to_string(), text: read(path)? };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Project { base_dir, default_name: stem, is_file: true, texts: vec![text], rules: Vec::new(), settings: Layers::default() })
    }

    /// A project made of texts in memory: for programs that embed the engine, and for tests. Relative paths, and the
    /// data directory, start at `base_dir`.
    pub fn of_texts(name: impl Into<String>, base_dir: impl Into<PathBuf>, texts: Vec<SqlText>) -> Self {
        Project {
            base_dir: base_dir.into(),
            default_name: name.into(),
            is_file: false,
            texts,
            rules: Vec::new(),
            settings: Layers::default(),
        }
    }

    /// Is there a project in the folder, in order or not?
    pub fn is_folder_of_one(dir: &Path) -> bool {
        dir.join(SETTINGS_FILE).exists() || dir.join(QUERIES).is_dir()
    }

    fn open_folder(dir: &Path) -> Result<Self> {
        let (settings_file, queries) = (dir.join(SETTINGS_FILE), dir.join(QUERIES));
        if !Project::is_folder_of_one(dir) {
            return Err(Error::input(format!(
                "'{}' is no project folder: it has neither {SETTINGS_FILE} nor {QUERIES}/; 'eagre init {}' makes one",
                dir.display(),
                dir.join("demo").display()
            )));
        }
        if let Some(part) = LATER.iter().find(|part| dir.join(part).exists()) {
            return Err(Error::input(format!("'{}' is not supported yet; move it out of the project", dir.join(part).display())));
        }
        let mut settings = Layers::default();
        if settings_file.exists() {
            let file = settings_file.display().to_string();
            for entry in yaml::read(&read(&settings_file)?, &file, &|name| std::env::var(name).ok())? {
                settings.set(&entry.key, &entry.value, Origin::File, entry.place)?;
            }
            // What is wrong in the file is told before anything else is read.
            settings.resolve()?;
        }
        let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let name = whole.file_name().map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned());
        let texts = files_of(&queries, &["sql"])?.into_iter().map(|(name, text)| SqlText { name, text }).collect();
        Ok(Project { base_dir: dir.to_owned(), default_name: name, is_file: false, texts, rules: rule_files(dir)?, settings })
    }

    /// Its files of fixtures, in the order of their names. Not read before they are asked for: a project runs without.
    pub fn fixtures(&self) -> Result<Vec<FixtureFile>> {
        let files = files_of(&self.base_dir.join(TESTS), &["yaml", "yml"])?;
        Ok(files.into_iter().map(|(name, text)| FixtureFile { name, text }).collect())
    }

    /// Is it a SQL file, in which a bare SELECT is shown, not a folder, in which it has a name?
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    /// Sets `key=value` of a `--set` flag.
    pub fn set_from_flag(&mut self, assignment: &str) -> Result<()> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| Error::input(format!("--set '{assignment}': expected key=value, such as --set checkpoint.interval='5 s'")))?;
        self.settings.set(key.trim(), value.trim(), Origin::Set, Place::thing("--set"))
    }

    /// Id of the pipeline: the name that is set, or that of the folder or file, fit for the name of a folder.
    pub fn pipeline(&self, settings: &Settings) -> Result<String> {
        let name = settings.name.as_deref().unwrap_or(&self.default_name);
        let fit: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
        match fit.trim_start_matches('.') {
            "" | "log" => Err(Error::input(format!("a pipeline cannot be called '{name}'; set another 'name' in {SETTINGS_FILE}"))),
            fit => Ok(fit.to_owned()),
        }
    }

    /// Names under which a project folder has been run before, other than `pipeline`: of a folder that was renamed, the
    /// state is still there under its old name. A folder of SQL files is shared, and has no such names.
    pub fn earlier_names(&self, settings: &Settings, pipeline: &str) -> Vec<String> {
        if self.is_file {
            return Vec::new();
        }
        // What cannot be listed has not been run.
        let entries = std::fs::read_dir(self.data_dir(settings)).into_iter().flatten().filter_map(|entry| entry.ok());
        let names = entries.filter(|entry| entry.path().join(CHECKPOINTS).is_dir()).map(|entry| entry.file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name != pipeline).collect();
        names.sort();
        names
    }

    /// The data directory.
    pub fn data_dir(&self, settings: &Settings) -> PathBuf {
        self.base_dir.join(&settings.data_dir)
    }

    /// Where the pipeline's checkpoints are.
    pub fn checkpoint_dir(&self, settings: &Settings) -> Result<String> {
        let pipeline = self.pipeline(settings)?;
        Ok(match &settings.checkpoint_dir {
            None => self.data_dir(settings).join(pipeline).join(CHECKPOINTS).display().to_string(),
            Some(url) if url.contains("://") => format!("{}/{pipeline}", url.trim_end_matches('/')),
            Some(dir) => self.base_dir.join(dir).join(pipeline).display().to_string(),
        })
    }
}

/// The files of rules of the project in `dir`.
pub fn rule_files(dir: &Path) -> Result<Vec<RuleFile>> {
    Ok(files_of(&dir.join(RULES), &["yaml", "yml"])?.into_iter().map(|(name, text)| RuleFile { name, text }).collect())
}

/// Names and texts of the files of `dir` with one of these extensions, by name; none when it is missing.
fn files_of(dir: &Path, extensions: &[&str]) -> Result<Vec<(String, String)>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let fault = |error| Error::unreachable(format!("listing '{}'", dir.display())).because(error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| Ok((path.display().to_string(), read(path)?))).collect()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::unreachable(format!("reading '{}'", path.display())).because(e))
}

fn missing(path: &Path) -> Error {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let near = did_you_mean(&wanted, names.iter().map(String::as_str));
    Error::unreachable(format!("there is no '{}'{near}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_folder_has_settings_and_texts_in_order() {
        let dir = folder(&[
            ("eagre.yaml", "name: my shop\ndata-dir: /data\n"),
            ("queries/b.sql", "B"),
            ("queries/a.sql", "A"),
            ("queries/x.md", ""),
        ]);
        let project = Project::open(dir.path()).unwrap();
        let settings = project.settings.resolve().unwrap();
        assert_eq!(project.texts.iter().map(|t| t.text.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(project.pipeline(&settings).unwrap(), "my-shop");
        assert_eq!(project.data_dir(&settings), Path::new("/data"));
        assert_eq!(project.checkpoint_dir(&settings).unwrap(), "/data/my-shop/checkpoints");
    }

    #[test]
    fn a_file_is_a_project_too() {
        let dir = folder(&[("job.sql", "SELECT 1")]);
        let mut project = Project::open(&dir.path().join("job.sql")).unwrap();
        project.set_from_flag("checkpoint.dir = s3://bucket/x/").unwrap();
        let settings = project.settings.resolve().unwrap();
        assert_eq!(project.pipeline(&settings).unwrap(), "job");
        assert_eq!(project.data_dir(&settings), dir.path().join(".eagre"));
        assert_eq!(project.checkpoint_dir(&settings).unwrap(), "s3://bucket/x/job");
        assert!(project.set_from_flag("checkpoint.dir").is_err());
    }

    #[test]
    fn what_is_no_project_is_said() {
        let dir =
            folder(&[("jobs/job.sql", ""), ("later/eagre.yaml", ""), ("later/sagas/a.yaml", ""), ("bad/eagre.yaml", "\nparalelism: 2\n")]);
        let told = |path: &str| Project::open(&dir.path().join(path)).unwrap_err().to_string();
        assert!(told("jobs").contains("is no project folder"));
        assert!(told("jobs/jb.sql").ends_with("did you mean 'job.sql'?"));
        assert!(told("later").contains("sagas' is not supported yet"));
        assert!(told("bad").ends_with("eagre.yaml:2:1: unknown setting 'paralelism'; did you mean 'parallelism'?"), "{}", told("bad"));
    }
}
