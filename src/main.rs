//! The `mcpgateway-operator` binary: one TLS provider for all clients, then the command line.

use std::process::ExitCode;

// The operator makes and drops much of different sizes in every cycle. The allocators of the C libraries keep a third more of that
// for themselves than is in use (glibc), or are slow with threads (musl, in the image).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // The one provider of the process; the clients are built without one of their own. An Err says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    mcpgateway_operator::cli::main()
}
