//! The table itself: what the operator may do, and nothing else.

/// A namespace; `None`: the whole cluster, or a resource that is in no namespace.
pub type Placement = Option<String>;

/// The namespaces of a test.
pub struct Places {
    /// Of the release.
    pub home: String,
    /// Of the objects; with `listed` these alone.
    pub watched: Vec<String>,
    /// Of the worker Service.
    pub workers: String,
    /// With which the operator has nothing to do.
    pub other: String,
    /// Whether the namespaces are listed in the values.
    pub listed: bool,
}

impl Places {
    /// All of them, and two of the cluster's own.
    pub fn all(&self) -> Vec<String> {
        let own = [&self.home, &self.workers, &self.other];
        let all = own.into_iter().chain(&self.watched).cloned();
        all.chain(["default", "kube-system"].map(str::to_owned)).collect()
    }
}

/// One verb on one resource, in a place, by name if the rule has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub place: Placement,
    pub group: &'static str,
    /// With its subresource.
    pub resource: &'static str,
    pub name: Option<String>,
    pub verb: &'static str,
}

impl Right {
    /// Whether it allows this.
    pub fn covers(&self, place: Option<&str>, group: &str, resource: &str, name: Option<&str>, verb: &str) -> bool {
        let Self { place: here, group: of, resource: what, name: only, verb: may } = self;
        let reaches = here.is_none() || here.as_deref() == place;
        let fits = only.is_none() || only.as_deref() == name;
        reaches && fits && (*of, *what, *may) == (group, resource, verb)
    }
}

/// `(group, resource, verbs)`.
type Rule = (&'static str, &'static str, &'static [&'static str]);

/// On the objects, where they are.
const REGISTRY: [Rule; 3] = [
    ("mcpgateway.io", "mcpgateways", &["get", "list", "watch"]),
    ("mcpgateway.io", "mcpgateways/status", &["patch"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

/// In the release's namespace.
const HOME: [Rule; 2] = [("coordination.k8s.io", "leases", &["create"]), ("", "configmaps", &["create"])];

/// On what is the operator's own there.
const OWN: &[&str] = &["get", "watch", "update", "patch"];

pub fn rights(places: &Places) -> Vec<Right> {
    let mut all = Vec::new();
    let mut add = |place: &Placement, (group, resource, verbs): Rule, name: Option<&str>| {
        for verb in verbs {
            all.push(Right { place: place.clone(), group, resource, name: name.map(str::to_owned), verb });
        }
    };
    let home = Some(places.home.clone());
    if places.listed {
        for place in &places.watched {
            REGISTRY.iter().for_each(|rule| add(&Some(place.clone()), *rule, None));
        }
        add(&home, REGISTRY[2], None);
    } else {
        REGISTRY.iter().for_each(|rule| add(&None, *rule, None));
        add(&None, ("", "namespaces", &["get"]), Some("kube-system"));
    }
    HOME.iter().for_each(|rule| add(&home, *rule, None));
    add(&home, ("coordination.k8s.io", "leases", OWN), Some("mcpgateway-operator"));
    add(&home, ("", "configmaps", OWN), Some("mcpgateway-operator-status"));
    add(&Some(places.workers.clone()), ("discovery.k8s.io", "endpointslices", &["list", "watch"]), None);
    all
}
