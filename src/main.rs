//! The `mcpgateway-operator` binary: installs the TLS provider and runs the command line.

use std::process::ExitCode;

// Every cycle allocates and frees many blocks of different sizes. glibc keeps a third more memory than is in use, and
// musl (in the image) is slow with several threads.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // All clients use this provider; they are built without one. It fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    mcpgateway_operator::cli::main()
}
