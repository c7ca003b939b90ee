//! The table itself: everything that the operator may do.

/// A namespace; `None` for all namespaces, or for a resource without a namespace.
pub type Place = Option<String>;

/// The namespaces of a test.
pub struct Places {
    /// The namespace of the release.
    pub home: String,
    /// The namespaces of the objects; with `listed`, only these are watched.
    pub watched: Vec<String>,
    /// The namespace of the worker Service.
    pub workers: String,
    /// A namespace that does not concern the operator.
    pub other: String,
    /// Whether the values list the namespaces.
    pub listed: bool,
}

impl Places {
    /// All of these, and two of the cluster.
    pub fn all(&self) -> Vec<String> {
        let own = [&self.home, &self.workers, &self.other];
        let all = own.into_iter().chain(&self.watched).cloned();
        all.chain(["default", "kube-system"].map(str::to_owned)).collect()
    }
}

/// One verb on one resource, in one place, by name if the rule has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub place: Place,
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
    pub name: Option<String>,
    pub verb: &'static str,
}

impl Right {
    /// Whether it allows this request.
    pub fn covers(&self, place: Option<&str>, group: &str, resource: &str, name: Option<&str>, verb: &str) -> bool {
        let Self { place: here, group: of, resource: what, name: only, verb: may } = self;
        let reaches = here.is_none() || here.as_deref() == place;
        let fits = only.is_none() || only.as_deref() == name;
        reaches && fits && (*of, *what, *may) == (group, resource, verb)
    }
}

/// `(group, resource, verbs)`.
type Rule = (&'static str, &'static str, &'static [&'static str]);

/// Rights on the objects, in the objects' namespaces.
const REGISTRY: [Rule; 3] = [
    ("mcpgateway.io", "mcpgateways", &["get", "list", "watch"]),
    ("mcpgateway.io", "mcpgateways/status", &["patch"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

/// Rights in the release's namespace.
const HOME: [Rule; 2] = [("coordination.k8s.io", "leases", &["create"]), ("", "configmaps", &["create"])];

/// Rights on the operator's own objects there.
const OWN: &[&str] = &["get", "watch", "update", "patch"];

pub fn rights(places: &Places) -> Vec<Right> {
    let mut all = Vec::new();
    let mut add = |place: &Place, (group, resource, verbs): Rule, name: Option<&str>| {
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
