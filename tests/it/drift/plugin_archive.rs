//! The plugin for `ContextForge` as one file that Python imports from. It is in the chart, which reads no other files.

use std::io::{Cursor, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{root, same_bytes};

const PACKAGE: &str = "mcpgateway_usage";
const ARCHIVE: &str = "charts/mcpgateway-operator/files/mcpgateway_usage.zip";

/// The names of the package's files, sorted.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the package").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.file_type().expect("a type").is_file());
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// The same bytes from the same files: sorted, with the oldest date that an archive can hold, and compressed by a
/// library that Cargo.lock pins.
fn archive(folder: &Path) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644);
    for name in files(folder) {
        archive.start_file(format!("{PACKAGE}/{name}"), options).expect("a member");
        archive.write_all(&std::fs::read(folder.join(name)).expect("a file")).expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

#[test]
fn the_archive_of_the_plugin_has_the_committed_sources() {
    let folder = root().join("integrations/contextforge/src").join(PACKAGE);
    let names = files(&folder);
    assert!(names.len() > 15 && names.contains(&"plugin.py".to_owned()), "{names:?}");
    let archive = archive(&folder);
    same_bytes(ARCHIVE, &archive);
    let members = ZipArchive::new(Cursor::new(archive)).expect("an archive");
    let expected: Vec<String> = names.iter().map(|name| format!("{PACKAGE}/{name}")).collect();
    assert_eq!(members.file_names().collect::<Vec<_>>(), expected);
    // With the rest of a ConfigMap, and twice in the Secret of a Helm release, whose limit is 1 MiB.
    let size = std::fs::metadata(root().join(ARCHIVE)).expect("the archive").len();
    assert!(size < 100_000, "{size}");
}
