//! The `mcpgateway-operator` binary: one TLS provider for all clients, then the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The one provider of the process; the clients are built without one of their own. An Err says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    mcpgateway_operator::cli::main()
}
