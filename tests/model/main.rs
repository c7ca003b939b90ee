//! A model of leadership and fencing (docs/contract.md#leadership, docs/contract.md#the-fence), explored exhaustively:
//! every order of events, with up to a given number of faults.
//!
//! The model has two replicas; the Lease; Redis with the lock, the fence and a publication of two sets; the status of
//! one object; and a `ContextForge` worker that takes a free lock and purges. A refresh plan adds no state: it is part
//! of the same value, which the same scripts write, renew and withdraw. Only a purge leaves it, and then the sets that
//! are missing lead to a full publication. Each of these counts as one fault:
//! - a process dies, or is paused until its leadership is over;
//! - the Lease is taken from a live holder, deleted, emptied, or loses its number;
//! - an acquisition cannot reach Redis and has not read the registry;
//! - an answer is lost; a call arrives after its sender gave up;
//! - Redis loses everything, its latest writes, or its term; somebody plants a term in Redis or in the status;
//! - the lock disappears, or a foreign holder takes it.
//!
//! The decisions are the program's own functions: `decision::next_action`, `SeenTerms::next_term`, `Term::after`,
//! `ObservedLease::is_held_by`, `ForeignHolderHistory` and `term_may_follow` (a test compares it with the API server).
//! `support::fence::check` is the rule of the scripts in Redis (a test compares it with them). Only the order of the
//! steps around them is a copy.
//!
//! There are no clocks. A Lease may be taken when its holder is dead or, as a fault, at any time. Leadership may end at
//! any time. A call is before its not-after moment or past it. The model therefore covers whatever real clocks do.
//! Objects have no resourceVersions, only *changed since it was read*. Renewals that change nothing are left out.
//!
//! Checked properties: docs/contract.md#p1 and docs/contract.md#p3 hold in every state. No two leaders have one term
//! until Redis has lost its memory. And there is no dead end: from every state, a good state can be reached without
//! further faults. The last one is checked on the whole graph, because a path shows what happened, not what is
//! possible.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::option_option,
    clippy::struct_excessive_bools,
    reason = "a test fails by panicking, is no part of the program's layers, and a state is made of flags"
)]

mod effects;
#[path = "../support/fence.rs"]
mod fence;
mod graph;
mod registration;
mod steps;
mod world;

use std::time::Instant;

use stateright::{Checker, Expectation, Model, Property};

use steps::{Step, faults, own_steps};
use world::World;

/// The parts of the protocol. A variant without one of them must break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The stores compare terms.
    pub fence: bool,
    /// A leader whose term was refused raises it.
    pub raise: bool,
    /// A leadership token that has not held the lock is refused if Redis holds its own term.
    pub claim: bool,
    /// A call does nothing after its not-after moment.
    pub not_after: bool,
    /// An acquisition counts the terms of the statuses.
    pub statuses: bool,
}

const WHOLE: Parts = Parts { fence: true, raise: true, claim: true, not_after: true, statuses: true };

/// The model with a number of faults.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    parts: Parts,
    faults: u8,
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.faults)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // A state behind a broken promise needs no exploring.
        if world.broken.is_some() {
            return;
        }
        steps.extend(own_steps(world, self.parts));
        if world.faults > 0 {
            steps.extend(faults(world));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        world.after(step, self.parts)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property { expectation: Expectation::Always, name: "P1", condition: |_, world| world.broken.is_none() },
            Property {
                expectation: Expectation::Always,
                name: "P3",
                condition: |_, world| world.redis.hot == world.redis.cold,
            },
            Property { expectation: Expectation::Sometimes, name: "good", condition: |_, world| world.is_good() },
        ]
    }
}

impl Protocol {
    /// The promise that is broken, and after how many steps; `None` if none is broken.
    fn violation(self) -> Option<(String, usize)> {
        let checker = self.checker().threads(2).spawn_bfs().join();
        let path = checker.discovery("P1").or_else(|| checker.discovery("P3"))?;
        let (end, steps) = (path.last_state().clone(), path.into_actions());
        Some((end.broken.unwrap_or("P3").to_owned(), steps.len()))
    }
}

#[test]
fn the_protocol_keeps_its_promises_and_has_no_dead_end() {
    let faults = std::env::var("MODEL_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let protocol = Protocol { parts: WHOLE, faults };
    let begun = Instant::now();
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{states} states, {} steps deep, {faults} faults, {:.1?}", checker.max_depth(), begun.elapsed());
    checker.assert_properties();
    let begun = Instant::now();
    let graph = graph::explore(protocol);
    let dead = graph.dead_ends();
    println!(
        "{} states, {} of them good, {} dead ends, {:.1?}",
        graph.states(),
        graph.good(),
        dead.len(),
        begun.elapsed()
    );
    if let Some(first) = dead.first() {
        panic!("a dead end after:\n{}", graph.trace(protocol, *first));
    }
}

#[test]
fn without_the_fence_a_stale_leader_is_accepted() {
    let (broken, steps) =
        Protocol { parts: Parts { fence: false, ..WHOLE }, faults: 1 }.violation().expect("a violation");
    println!("without the fence: {broken}, after {steps} steps");
    assert!(broken.contains("lower"), "{broken}");
}

#[test]
fn without_the_claim_two_leaders_write_at_one_term() {
    let (broken, steps) =
        Protocol { parts: Parts { claim: false, ..WHOLE }, faults: 1 }.violation().expect("a violation");
    println!("without the claim: {broken}, after {steps} steps");
    assert_eq!(broken, "P1: two leaders wrote at one term");
}

#[test]
fn without_the_not_after_moment_an_old_publication_undoes_a_newer_one() {
    let (broken, steps) =
        Protocol { parts: Parts { not_after: false, ..WHOLE }, faults: 1 }.violation().expect("a violation");
    println!("without the not-after moment: {broken}, after {steps} steps");
    assert_eq!(broken, "P1: an older publication of a term was accepted after a newer one");
}

#[test]
fn without_raising_a_refused_term_the_fleet_is_stuck() {
    let protocol = Protocol { parts: Parts { raise: false, ..WHOLE }, faults: 1 };
    let graph = graph::explore(protocol);
    let dead = graph.dead_ends();
    assert!(!dead.is_empty(), "no dead end in {} states", graph.states());
    let trace = graph.trace(protocol, dead[0]);
    println!("without raising: {} dead ends in {} states; the first after\n{trace}", dead.len(), graph.states());
}
