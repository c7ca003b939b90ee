//! The table of rights: everything that the operator may do.

/// A namespace. `None` is the whole cluster, or no namespace for a cluster-wide resource.
pub type Scope = Option<String>;

/// The namespaces of a test.
pub struct Places {
    /// The release's namespace.
    pub home: String,
    /// Namespaces with objects. With `listed`, the operator watches only these.
    pub watched: Vec<String>,
    /// The namespace of the worker Service.
    pub workers: String,
    /// A namespace that the operator has nothing to do with.
    pub other: String,
    /// Whether the values list the namespaces, and switch registration and mirror on.
    pub listed: bool,
}

impl Places {
    /// With `listed`, the namespace of mirrored objects.
    pub fn mirror(&self) -> &str {
        &self.watched[2]
    }

    /// With `listed`, the only namespace whose objects may be registered.
    pub fn registered(&self) -> &str {
        &self.watched[1]
    }

    /// All of these, and two of the cluster.
    pub fn all(&self) -> Vec<String> {
        let own = [&self.home, &self.workers, &self.other];
        let all = own.into_iter().chain(&self.watched).cloned();
        all.chain(["default", "kube-system"].map(str::to_owned)).collect()
    }
}

/// One verb on one resource in one scope, restricted to a name if the rule has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub scope: Scope,
    pub group: &'static str,
    /// With its subresource, as `RESOURCE/SUBRESOURCE`.
    pub resource: &'static str,
    pub name: Option<String>,
    pub verb: &'static str,
}

impl Right {
    /// Whether it allows a request.
    pub fn covers(&self, scope: Option<&str>, group: &str, resource: &str, name: Option<&str>, verb: &str) -> bool {
        let in_scope = self.scope.is_none() || self.scope.as_deref() == scope;
        let named = self.name.is_none() || self.name.as_deref() == name;
        in_scope && named && (self.group, self.resource, self.verb) == (group, resource, verb)
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

/// For registrations, where objects may be registered and use Secrets.
const REGISTRATION: [Rule; 3] =
    [("mcpgateway.io", "mcpgateways", &["patch"]), ("", "secrets", &["get"]), ("", "configmaps", &["get"])];

/// On mirrored objects, in their namespace.
const MIRROR: Rule = ("mcpgateway.io", "mcpgateways", &["create", "patch", "delete"]);

/// In the release's namespace.
const HOME: [Rule; 2] =
    [("coordination.k8s.io", "leases", &["create"]), ("mcpgateway.io", "mcpgatewayfleets", &["create"])];

/// On the Lease and the fleet of the release, which have the same name. The fleet's spec belongs to people.
const OWN: [Rule; 3] = [
    ("coordination.k8s.io", "leases", &["get", "watch", "update"]),
    ("mcpgateway.io", "mcpgatewayfleets", &["get", "list", "watch"]),
    ("mcpgateway.io", "mcpgatewayfleets/status", &["update"]),
];

/// The rights of a release named `mcpgateway-operator`.
pub fn rights(places: &Places) -> Vec<Right> {
    let mut all = Vec::new();
    let mut add = |scope: &Scope, (group, resource, verbs): Rule, name: Option<&str>| {
        for verb in verbs {
            all.push(Right { scope: scope.clone(), group, resource, name: name.map(str::to_owned), verb });
        }
    };
    let home = Some(places.home.clone());
    if places.listed {
        for namespace in &places.watched {
            REGISTRY.iter().for_each(|rule| add(&Some(namespace.clone()), *rule, None));
        }
        add(&home, REGISTRY[2], None);
        REGISTRATION.iter().for_each(|rule| add(&Some(places.registered().to_owned()), *rule, None));
        add(&Some(places.mirror().to_owned()), MIRROR, None);
    } else {
        REGISTRY.iter().for_each(|rule| add(&None, *rule, None));
        add(&None, ("", "namespaces", &["get"]), Some("kube-system"));
    }
    HOME.iter().for_each(|rule| add(&home, *rule, None));
    OWN.iter().for_each(|rule| add(&home, *rule, Some("mcpgateway-operator")));
    add(&Some(places.workers.clone()), ("discovery.k8s.io", "endpointslices", &["list", "watch"]), None);
    all
}
