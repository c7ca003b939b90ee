//! The whole line: real API server, real Redis, real operator processes, workers on real sockets.

mod accidents;
mod api;
mod asks;
mod changes;
mod example;
mod fails_open;
mod gone;
mod leaders;
mod lying;
mod moving;
mod older;
mod outdated;
mod policy;
mod recording;
mod refresh_plan;
mod secrets;
mod suspend;
mod tenants;
mod walk;

use std::collections::BTreeSet;

use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use mcpgateway_operator::api::v1alpha1::McpGateway;
use mcpgateway_operator::clock;
use mcpgateway_operator::model::Tier;
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::fleet::{Fleet, Tiers, condition, key, used, used_as};
use crate::support::operator::Operator;
use crate::support::worker::{Row, Worker};
use crate::support::{SOON, eventually};
