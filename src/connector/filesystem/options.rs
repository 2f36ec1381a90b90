//! Options of `filesystem`.

/// `'connector'='filesystem'`, beside `'format'` (`json`, `csv`, `cloudevents`, `raw`, `parquet`) and the format's own.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesystemOptions {
    /// Where the files are; relative paths start at the project folder, `file://` may stand before it.
    ///
    /// As a source: a file, a glob (`data/*.jsonl`), a directory (all files in and below it, but those whose name begins
    /// with `.` or `_`), or `-` for standard input. `.gz` and `.zst` files are unpacked.
    /// As a sink: with an extension one file (bounded pipelines only), without one a directory that gets part files, or
    /// `-` for standard output.
    pub path: String,

    /// How several files are read: each as a `partitions` of its own with its own watermark, all side by side, or in
    /// `sequence` by name, under one watermark.
    #[serde(rename = "source.files", default)]
    pub files: Files,
}

/// How several files are read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Files {
    /// Each file is a partition.
    #[default]
    Partitions,
    /// One partition: the files in the order of their names.
    Sequence,
}
