//! Poll decisions as gateways use them: on the command line, and over HTTP on both replicas of a running operator.

mod cli;
mod http;
mod openapi;
