//! A model of the protocol (docs/contract.md#leadership, docs/contract.md#the-fence). It is explored completely: every order
//! of events, up to a number of faults.
//!
//! Modelled: two replicas, the Lease, Redis with the lock, the fence and a publication of two sets, the status of one
//! object, and a `ContextForge` worker that takes a free lock and purges. Faults, each counted: a process that crashes, or
//! is paused until its leadership has expired; a Lease acquired from a live holder; an acquisition that cannot reach Redis
//! and has not read the registry; a lost response; a request that arrives after its sender gave up; the Lease deleted, its
//! holder or its term removed; Redis losing everything, its latest writes or its term; high terms planted in Redis and in
//! the status; the lock lost; a foreign holder.
//!
//! The decisions are the program's own functions: `decision::next_action`, `SeenTerms::next_term`, `Term::after`,
//! `ObservedLease::is_held_by`, the fence (`fence::enter`, which a test compares with the script in Redis),
//! `ForeignHolderHistory`, and the rule for a status (`term_may_follow`, which a test compares with the API server). The
//! order of the steps around them is a copy.
//!
//! Abstracted: there are no clocks. A Lease may be acquired when its holder is dead or, as a fault, at any time. Leadership
//! may expire at any time. A request is before its not-after moment or past it. So the exploration covers whatever real
//! clocks do. Objects have no resourceVersions, only *changed since it was read*. Renewals that change nothing are omitted.
//!
//! Properties: P1 and P3 (docs/contract.md#promises) hold in every state; no two leaders write at one term until Redis has
//! lost its memory; and from every state a good state can be reached without further faults, so there is no dead end. The
//! last property is about what is possible, not about one path, so it is checked on the complete graph.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::option_option,
    clippy::struct_excessive_bools,
    reason = "a test fails by panicking, is outside of the layers, and a state consists of flags"
)]

mod effects;
mod graph;
mod steps;
mod world;

use std::time::Instant;

use stateright::{Checker, Expectation, Model, Property};

use steps::{Step, faults, own_steps};
use world::World;

/// The safeguards of the protocol. A model without one of them must break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safeguards {
    /// The stores compare terms.
    pub fence: bool,
    /// A refused leader raises its term.
    pub raise: bool,
    /// The fence refuses a leader that has not held the lock if its term is stored already.
    pub claim: bool,
    /// A request has no effect after its not-after moment.
    pub not_after: bool,
    /// An acquisition takes the terms in the statuses into account.
    pub statuses: bool,
}

const ALL: Safeguards = Safeguards { fence: true, raise: true, claim: true, not_after: true, statuses: true };

/// The model, with a limited number of faults.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    safeguards: Safeguards,
    faults: u8,
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.faults)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // States after a violation are of no interest.
        if world.violation.is_some() {
            return;
        }
        steps.extend(own_steps(world, self.safeguards));
        if world.faults > 0 {
            steps.extend(faults(world));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        world.after(step, self.safeguards)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property { expectation: Expectation::Always, name: "P1", condition: |_, world| world.violation.is_none() },
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
    /// The first violation, and the number of steps that lead to it.
    fn violation(self) -> Option<(String, usize)> {
        let checker = self.checker().threads(2).spawn_bfs().join();
        let path = checker.discovery("P1").or_else(|| checker.discovery("P3"))?;
        let (end, steps) = (path.last_state().clone(), path.into_actions());
        Some((end.violation.unwrap_or("P3").to_owned(), steps.len()))
    }
}

#[test]
fn the_protocol_keeps_its_promises_and_has_no_dead_end() {
    let faults = std::env::var("MODEL_FAULTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let protocol = Protocol { safeguards: ALL, faults };
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
        panic!("a dead end:\n{}", graph.trace(protocol, *first));
    }
}

#[test]
fn without_the_fence_writes_of_a_stale_leader_are_accepted() {
    let (violation, steps) =
        Protocol { safeguards: Safeguards { fence: false, ..ALL }, faults: 1 }.violation().expect("a violation");
    println!("without the fence: {violation}, after {steps} steps");
    assert!(violation.contains("lower"), "{violation}");
}

#[test]
fn without_the_claim_two_leaders_write_at_one_term() {
    let (violation, steps) =
        Protocol { safeguards: Safeguards { claim: false, ..ALL }, faults: 1 }.violation().expect("a violation");
    println!("without the claim: {violation}, after {steps} steps");
    assert_eq!(violation, "P1: two leaders wrote at one term");
}

#[test]
fn without_the_not_after_moment_an_old_publication_undoes_a_newer_one() {
    let (violation, steps) =
        Protocol { safeguards: Safeguards { not_after: false, ..ALL }, faults: 1 }.violation().expect("a violation");
    println!("without the not-after moment: {violation}, after {steps} steps");
    assert_eq!(violation, "P1: an older publication of a term was accepted after a newer one");
}

#[test]
fn without_raising_refused_terms_there_are_dead_ends() {
    let protocol = Protocol { safeguards: Safeguards { raise: false, ..ALL }, faults: 1 };
    let graph = graph::explore(protocol);
    let dead = graph.dead_ends();
    assert!(!dead.is_empty(), "no dead end in {} states", graph.states());
    let trace = graph.trace(protocol, dead[0]);
    println!("without raising: {} dead ends in {} states; the first after\n{trace}", dead.len(), graph.states());
}
