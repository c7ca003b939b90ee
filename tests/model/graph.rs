//! Whether a good state can be reached from every state without further faults. Walks the whole graph backwards from
//! the good states, over the steps that are not faults.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::Model;

use crate::Protocol;
use crate::steps::Step;
use crate::world::World;

/// All states, and the steps between them.
pub struct Graph {
    /// For each state, the state and the step that first led to it.
    parents: Vec<Option<(u32, Step)>>,
    good: Vec<bool>,
    /// The steps that are not faults, as (to, from), sorted by `to`.
    faultless: Vec<(u32, u32)>,
}

fn fingerprint(state: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Explores all states, breadth first.
pub fn explore(protocol: Protocol) -> Graph {
    // A fingerprint stands for its state, as in the checker: millions of whole states do not fit into memory.
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let mut graph = Graph { parents: Vec::new(), good: Vec::new(), faultless: Vec::new() };
    let mut next = protocol.init_states();
    for state in &next {
        numbers.insert(fingerprint(state), graph.add(state, None));
    }
    let mut steps = Vec::new();
    while !next.is_empty() {
        for state in std::mem::take(&mut next) {
            let from = numbers[&fingerprint(&state)];
            protocol.actions(&state, &mut steps);
            for step in steps.drain(..) {
                let Some(after) = protocol.next_state(&state, step) else { continue };
                let to = match numbers.entry(fingerprint(&after)) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => {
                        let number = *new.insert(graph.add(&after, Some((from, step))));
                        next.push(after);
                        number
                    }
                };
                if step.cost() == 0 {
                    graph.faultless.push((to, from));
                }
            }
        }
    }
    graph.faultless.sort_unstable();
    graph
}

impl Graph {
    fn add(&mut self, state: &World, parent: Option<(u32, Step)>) -> u32 {
        self.parents.push(parent);
        self.good.push(state.is_good());
        u32::try_from(self.parents.len() - 1).expect("fewer than 2^32 states")
    }

    pub fn states(&self) -> usize {
        self.parents.len()
    }

    pub fn good(&self) -> usize {
        self.good.iter().filter(|good| **good).count()
    }

    /// The states from which no good state can be reached, in the order of their discovery.
    pub fn dead_ends(&self) -> Vec<u32> {
        let mut reached = self.good.clone();
        let mut left: Vec<u32> = (0..).zip(&reached).filter(|(_, good)| **good).map(|(state, _)| state).collect();
        while let Some(state) = left.pop() {
            let first = self.faultless.partition_point(|(to, _)| *to < state);
            for (_, from) in self.faultless[first..].iter().take_while(|(to, _)| *to == state) {
                if !std::mem::replace(&mut reached[*from as usize], true) {
                    left.push(*from);
                }
            }
        }
        (0..).zip(reached).filter(|(_, reached)| !reached).map(|(state, _)| state).collect()
    }

    /// The steps that lead to a state.
    pub fn trace(&self, protocol: Protocol, state: u32) -> String {
        let mut steps = Vec::new();
        let mut at = state;
        while let Some((from, step)) = self.parents[at as usize] {
            steps.push(step);
            at = from;
        }
        let mut world = protocol.init_states().remove(0);
        let mut text = String::new();
        for step in steps.into_iter().rev() {
            world = protocol.next_state(&world, step).expect("the step was taken before");
            writeln!(text, "  {step:?}").expect("writes to a string");
        }
        writeln!(text, "  {world:?}").expect("writes to a string");
        text
    }
}
