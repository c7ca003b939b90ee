//! A wall clock that a test steps, for processes that it starts. The monotonic clocks stay as they are.
//!
//! libfaketime (Debian package `libfaketime`) takes the place of the C library's functions. Programs that do not use
//! them, such as the static kube-apiserver, cannot be stepped in this way.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A wall clock. The processes that [`WallClock::of`] prepared have it.
pub struct WallClock {
    folder: TempDir,
    library: PathBuf,
}

impl WallClock {
    /// A clock that is right.
    pub fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().expect("a folder"), library: library() };
        clock.step(0);
        clock
    }

    /// Sets it to so many seconds ahead of the right time.
    pub fn step(&self, ahead: i32) {
        // Renamed, because a process may read the file at any moment.
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{ahead:+}\n")).expect("written");
        std::fs::rename(new, self.offset()).expect("renamed");
    }

    /// Lets a command that is not yet started have this clock.
    pub fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        // The C library comes next, so that its allocator takes the place of redis-server's, which reads the clock
        // before libfaketime is ready.
        let preload = format!("{}:libc.so.6", self.library.display());
        command
            .env("LD_PRELOAD", preload)
            .env("FAKETIME_TIMESTAMP_FILE", self.offset())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DISABLE_SHM", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    fn offset(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

fn library() -> PathBuf {
    let folders = [format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH), "/usr/lib64".into(), "/usr/lib".into()];
    let candidates = folders.iter().map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
    candidates.into_iter().find(|path| path.exists()).expect("libfaketime: install the Debian package libfaketime")
}
