//! The table: one row for each flag of `run`.

/// A value and whether it is accepted.
pub(super) enum TestValue {
    /// Refused.
    Bad(&'static str),
    /// Refused: this, followed by nines up to nearly the longest argument that the system allows (128 KiB).
    BadLong(&'static str),
    /// Accepted.
    Good(&'static str),
}
use TestValue::{Bad, BadLong, Good};

/// One flag. Each kind of value has a field, so that none is forgotten; an empty list says that there is no such value.
pub(super) struct Row {
    pub flag: &'static str,
    /// Whether it can be given several times.
    pub repeatable: bool,
    /// Whether its values may hold a secret and are never printed.
    pub secret: bool,
    /// Whether it accepts values that are not UTF-8.
    pub any_bytes: bool,
    /// Accepted values; at least one.
    pub good: &'static [&'static str],
    /// Other flags that it needs.
    pub beside: &'static [&'static str],
    pub empty: &'static [TestValue],
    pub negative: &'static [TestValue],
    pub zero: &'static [TestValue],
    pub huge: &'static [TestValue],
    pub unit: &'static [TestValue],
    pub unknown: &'static [TestValue],
    /// Conflicting flags, and a part of the error about this one.
    pub against: &'static [(&'static [&'static str], &'static str)],
}

/// Values that no duration accepts.
const DURATION: Row = Row {
    flag: "",
    repeatable: false,
    secret: false,
    any_bytes: false,
    good: &["90s", "1h30m"],
    beside: &[],
    empty: &[Bad("")],
    negative: &[Bad("-5s"), Bad("-1"), Bad("-0.5s")],
    zero: &[],
    huge: &[Bad("99999h"), Bad("99999999999999999999s"), BadLong(""), BadLong("1s")],
    unit: &[Bad("60"), Bad("5 parsecs"), Bad("5x"), Bad("1d"), Bad("10%"), Bad("64Mi"), Bad("5S")],
    unknown: &[Bad("soon"), Bad("inf"), Bad("NaN"), Bad("1h-5m"), Bad("PT5S"), Bad("5s\n\n6s")],
    against: &[],
};

const NUMBER: Row = Row {
    good: &["7"],
    negative: &[Bad("-1")],
    huge: &[Bad("18446744073709551616"), Bad("18446744073709551615"), BadLong("1")],
    unit: &[Bad("5s"), Bad("1Ki"), Bad("0x10"), Bad("1e3"), Bad("1.5")],
    unknown: &[Bad("many"), Bad("1 2"), Bad("٣")],
    ..DURATION
};

const SHARE: Row = Row {
    good: &["0.5", "1", "1.0"],
    negative: &[Bad("-0.1"), Bad("-1")],
    zero: &[Good("0"), Good("0.0")],
    huge: &[Bad("1.01"), Bad("1e999"), BadLong("1")],
    unit: &[Bad("20%"), Bad("0,5"), Bad("1/2")],
    unknown: &[Bad("half"), Bad("NaN"), Bad("inf")],
    ..DURATION
};

/// A file need not exist yet, and its name can be any bytes.
const FILE: Row = Row {
    any_bytes: true,
    good: &["/nonexistent/file", "relative"],
    negative: &[Good("./-1")],
    zero: &[Good("0")],
    huge: &[BadLong("/")],
    unit: &[],
    unknown: &[],
    ..DURATION
};

const NAME: Row = Row {
    good: &["a", "payments-1", "0"],
    negative: &[Bad("-1")],
    zero: &[Good("0")],
    huge: &[BadLong("")],
    unit: &[],
    unknown: &[Bad("Upper"), Bad("a/b"), Bad("a_b"), Bad("a-"), Bad("a b"), Bad("é"), Bad("*"), Bad("a\nb")],
    ..DURATION
};

const ADDRESS: Row = Row {
    good: &["127.0.0.1:0"],
    negative: &[Bad("-1"), Bad(":-1")],
    zero: &[Good("0"), Good(":0")],
    huge: &[Bad(":65536"), Bad("127.0.0.1:99999999999999999999"), BadLong(":")],
    unit: &[Bad("8080"), Bad("tcp:8080")],
    unknown: &[Bad(":"), Bad("localhost:8080"), Bad("http://planted:planted@h"), Bad("::1:8080"), Bad("off")],
    ..DURATION
};

const CHOICE: Row =
    Row { negative: &[Bad("-1")], zero: &[Bad("0")], huge: &[BadLong("")], unit: &[], unknown: &[], ..DURATION };

/// Text with a rule of its own.
const TEXT: Row = CHOICE;

const HTTPS: &[&str] = &["--worker-service", "https://gateways/tls"];
const REDIS: &[&str] = &["--redis-url", "redis://:planted@127.0.0.1:1"];
const REDIS_TLS: &[&str] = &["--redis-url", "rediss://127.0.0.1:1"];
const CONTEXTFORGE: &[&str] = &["--contextforge-url", "https://127.0.0.1:1"];
const CONTEXTFORGE_TLS: &[&str] = &["--contextforge-url", "https://127.0.0.1:1", "--contextforge-token-file", "/t"];

pub(super) const ROWS: &[Row] = &[
    Row { flag: "--watch-namespace", repeatable: true, unknown: &[Bad("Upper"), Bad("a/b"), Bad("*")], ..NAME },
    Row {
        flag: "--watch-selector",
        good: &["team=search,tier in (a,b),!old", "a!=b"],
        empty: &[Good(""), Good(" ")],
        zero: &[Good("0")],
        unknown: &[Bad("a==b==c"), Bad("a in x"), Bad("=b"), Bad("a=b,"), Bad("a b")],
        ..TEXT
    },
    Row { flag: "--classification-interval", zero: &[Bad("0"), Bad("0s")], ..DURATION },
    Row { flag: "--hot-fraction", ..SHARE },
    Row { flag: "--min-hot", zero: &[Good("0")], ..NUMBER },
    Row { flag: "--max-pinned", ..SHARE },
    Row { flag: "--recency-resolution", zero: &[Good("0"), Good("0s")], ..DURATION },
    Row {
        flag: "--usage-window",
        zero: &[Good("0"), Good("0s")],
        good: &["720h"],
        against: &[
            (&["--usage-window", "59s"], "at least --classification-interval"),
            (&["--usage-window", "1h", "--classification-interval", "2h"], "'1h'"),
        ],
        ..DURATION
    },
    Row { flag: "--status-usage-interval", zero: &[Good("0"), Good("0s")], ..DURATION },
    Row {
        flag: "--worker-endpoint",
        repeatable: true,
        secret: true,
        good: &["http://127.0.0.1:9/usage?token=planted", "https://h/", "http://a/u,http://b/u"],
        zero: &[Bad("0"), Bad("http://planted:0/")],
        huge: &[Bad("http://planted:65536/"), BadLong("http://planted/")],
        unit: &[Bad("ftp://planted/x"), Bad("planted:80")],
        unknown: &[
            Bad("https://user:planted@h/u"),
            Bad("http:h"),
            Bad("https://"),
            Bad("http://h/#planted"),
            Bad("http://a,"),
        ],
        against: &[(
            &["--worker-endpoint", "http://h/u?token=planted1,http://h/u?token=planted2"],
            "differ only in their query",
        )],
        ..TEXT
    },
    Row {
        flag: "--worker-service",
        repeatable: true,
        good: &["gateways/contextforge:usage", "https://a/b:8443", "a/b,c/d"],
        zero: &[Bad("0"), Bad("a/b:0")],
        huge: &[Bad("a/b:65536"), BadLong("a/b:"), BadLong("a/")],
        unit: &[Bad("ftp://a/b")],
        unknown: &[Bad("gateway"), Bad("a/b/c"), Bad("https://u:planted@a/b"), Bad("A/b"), Bad("a/b:"), Bad("a/b,")],
        ..TEXT
    },
    Row {
        flag: "--worker-path",
        good: &["/", "/usage"],
        huge: &[BadLong("/")],
        unknown: &[Bad("usage"), Bad("/a b"), Bad("/u?token=planted"), Bad("/u#x"), Bad("http://h/u"), Bad("/é")],
        ..TEXT
    },
    Row { flag: "--worker-timeout", good: &["500ms", "10m"], zero: &[Bad("0"), Bad("0s")], ..DURATION },
    Row { flag: "--worker-concurrency", zero: &[Bad("0")], ..NUMBER },
    Row { flag: "--worker-quorum", ..SHARE },
    Row {
        flag: "--max-report-bytes",
        good: &["65536", "128Mi", "16Gi"],
        zero: &[Bad("0"), Bad("0Mi")],
        huge: &[Bad("17Gi"), Bad("99999999999Gi"), Bad("18446744073709551616"), BadLong("1")],
        unit: &[Bad("128MB"), Bad("128M"), Bad("5s"), Bad("Mi"), Bad("1.5Mi")],
        ..NUMBER
    },
    Row { flag: "--worker-token-file", ..FILE },
    Row {
        flag: "--worker-ca-file",
        beside: HTTPS,
        against: &[(&["--worker-ca-file", "/ca"], "needs an https:// endpoint")],
        ..FILE
    },
    Row {
        flag: "--worker-client-cert-file",
        beside: &["--worker-service", "https://gateways/tls", "--worker-client-key-file", "/key"],
        against: &[(
            &["--worker-client-cert-file", "/cert", "--worker-service", "https://a/b"],
            "needs --worker-client-key-file",
        )],
        ..FILE
    },
    Row {
        flag: "--worker-client-key-file",
        beside: &["--worker-service", "https://gateways/tls", "--worker-client-cert-file", "/cert"],
        against: &[(
            &["--worker-client-key-file", "/key", "--worker-service", "https://a/b"],
            "needs --worker-client-cert-file",
        )],
        ..FILE
    },
    Row {
        flag: "--worker-tls-server-name",
        good: &["gateway.example.com", "10.0.0.7", "::1"],
        beside: HTTPS,
        zero: &[Bad("0")],
        unknown: &[Bad("a b"), Bad("https://h"), Bad("h:443"), Bad("a..b"), Bad("é")],
        against: &[(&["--worker-tls-server-name", "a.example"], "needs an https:// endpoint")],
        ..TEXT
    },
    Row {
        flag: "--redis-url",
        secret: true,
        good: &[
            "redis://h?db=2",
            "unix:///run/redis.sock?db=2",
            "redis://127.0.0.1:1",
            "rediss://:planted@127.0.0.1:1/2",
            "redis://user:planted@h",
        ],
        huge: &[Bad("redis://:planted@h:65536"), BadLong("redis://planted")],
        unit: &[Bad("http://:planted@h"), Bad("h:6379")],
        unknown: &[
            Bad("planted"),
            Bad("redis://"),
            Bad("redis://h/planted"),
            Bad("rediss://:planted@h#insecure"),
            Bad("redis://:planted@h?socket_timeout=5"),
            Bad("redis://h/1?db=2"),
            Bad("rediss://h?ssl_cert_reqs=none"),
        ],
        against: &[(&["--redis-url", "redis://planted@h"], "needs a password")],
        ..TEXT
    },
    Row {
        flag: "--redis-username",
        secret: true,
        good: &["operator"],
        beside: REDIS,
        negative: &[Good("-1")],
        zero: &[Good("0")],
        unknown: &[Bad("planted planted"), Bad("planted\n")],
        against: &[
            (&["--redis-username", "planted"], "needs --redis-url"),
            (&["--redis-username", "planted", "--redis-url", "redis://h"], "needs a password"),
        ],
        ..TEXT
    },
    Row {
        flag: "--redis-password-file",
        beside: REDIS,
        against: &[(&["--redis-password-file", "/p"], "needs --redis-url")],
        ..FILE
    },
    Row {
        flag: "--redis-ca-file",
        beside: REDIS_TLS,
        against: &[
            (&["--redis-ca-file", "/ca"], "needs --redis-url"),
            (&["--redis-ca-file", "/ca", "--redis-url", "redis://:planted@h"], "begins with rediss://"),
        ],
        ..FILE
    },
    Row {
        flag: "--redis-client-cert-file",
        beside: &["--redis-url", "rediss://127.0.0.1:1", "--redis-client-key-file", "/key"],
        against: &[
            (&["--redis-client-cert-file", "/cert"], "needs --redis-url"),
            (&["--redis-client-cert-file", "/cert", "--redis-url", "rediss://h"], "needs --redis-client-key-file"),
            (
                &["--redis-client-cert-file", "/c", "--redis-client-key-file", "/k", "--redis-url", "redis://h"],
                "begins with rediss://",
            ),
        ],
        ..FILE
    },
    Row {
        flag: "--redis-client-key-file",
        beside: &["--redis-url", "rediss://127.0.0.1:1", "--redis-client-cert-file", "/cert"],
        against: &[
            (&["--redis-client-key-file", "/key"], "needs --redis-url"),
            (&["--redis-client-key-file", "/key", "--redis-url", "rediss://h"], "needs --redis-client-cert-file"),
        ],
        ..FILE
    },
    Row {
        flag: "--redis-key-prefix",
        good: &["mcpgateway", "a:b"],
        negative: &[Good("-1")],
        zero: &[Good("0")],
        unknown: &[Bad("a b"), Bad(" "), Bad("{a}"), Bad("é"), Bad("redis://:planted@h{")],
        ..TEXT
    },
    Row {
        flag: "--redis-owner-id",
        good: &["production/eu"],
        negative: &[Good("-1")],
        zero: &[Good("0")],
        unknown: &[Bad("a b"), Bad("é"), Bad("a\nb")],
        ..TEXT
    },
    Row { flag: "--redis-lock-takeover", good: &["idle", "never"], unknown: &[Bad("always"), Bad("Idle")], ..CHOICE },
    Row {
        flag: "--contextforge-url",
        secret: true,
        good: &["http://127.0.0.1:1/root", "https://127.0.0.1:1"],
        beside: &["--contextforge-token-file", "/t"],
        huge: &[Bad("http://planted:65536/"), BadLong("http://planted/")],
        unit: &[Bad("ftp://planted/x"), Bad("planted:80")],
        unknown: &[
            Bad("https://u:planted@h"),
            Bad("http://h?planted"),
            Bad("http://h/#planted"),
            Bad("http://planted:0"),
        ],
        against: &[(&["--contextforge-url", "http://h"], "needs --contextforge-token-file")],
        ..TEXT
    },
    Row {
        flag: "--contextforge-token-file",
        beside: CONTEXTFORGE,
        against: &[(&["--contextforge-token-file", "/t"], "needs --contextforge-url")],
        ..FILE
    },
    Row {
        flag: "--contextforge-ca-file",
        beside: CONTEXTFORGE_TLS,
        against: &[
            (&["--contextforge-ca-file", "/ca"], "begins with https://"),
            (
                &["--contextforge-ca-file", "/c", "--contextforge-token-file", "/t", "--contextforge-url", "http://h"],
                "begins with https://",
            ),
        ],
        ..FILE
    },
    Row {
        flag: "--contextforge-requests-per-minute",
        good: &["1", "6000"],
        zero: &[Bad("0")],
        huge: &[Bad("6001"), Bad("18446744073709551616"), BadLong("1")],
        ..NUMBER
    },
    Row { flag: "--contextforge-resync", good: &["5s", "24h"], zero: &[Bad("0"), Bad("4s")], ..DURATION },
    Row {
        flag: "--contextforge-owner-id",
        good: &["production/eu"],
        negative: &[Good("-1")],
        zero: &[Good("0")],
        unknown: &[Bad("a b"), Bad("a;b"), Bad("é"), Bad("a\nb")],
        ..TEXT
    },
    Row { flag: "--registration-namespace", repeatable: true, unknown: &[Bad("Upper"), Bad("a/b"), Bad("*")], ..NAME },
    Row {
        flag: "--registration-allow-header",
        repeatable: true,
        good: &["X-Tenant", "a,b"],
        negative: &[Good("-1")],
        zero: &[Good("0")],
        unknown: &[Bad("a b"), Bad("X_A"), Bad("é"), Bad("a:b")],
        ..TEXT
    },
    Row {
        flag: "--mirror-namespace",
        beside: &["--contextforge-token-file", "/t", "--contextforge-url", "http://h"],
        unknown: &[Bad("Upper"), Bad("a/b"), Bad("*")],
        against: &[
            (&["--mirror-namespace", "m"], "needs --contextforge-url"),
            (
                &[
                    "--mirror-namespace",
                    "m",
                    "--watch-namespace",
                    "a",
                    "--contextforge-token-file",
                    "/t",
                    "--contextforge-url",
                    "http://h",
                ],
                "must be watched",
            ),
            (
                &[
                    "--mirror-namespace",
                    "m",
                    "--watch-selector",
                    "a=b",
                    "--contextforge-token-file",
                    "/t",
                    "--contextforge-url",
                    "http://h",
                ],
                "must be watched",
            ),
        ],
        ..NAME
    },
    Row { flag: "--adoption-namespace", repeatable: true, unknown: &[Bad("Upper"), Bad("a/b"), Bad("*")], ..NAME },
    Row { flag: "--hot-poll-interval", good: &["60s", "720h"], zero: &[Bad("0"), Bad("0s"), Bad("999ms")], ..DURATION },
    Row {
        flag: "--cold-poll-interval",
        good: &["5m", "720h"],
        zero: &[Bad("0"), Bad("0s")],
        huge: &[Bad("721h"), Bad("99999h"), Bad("99999999999999999999s"), BadLong("")],
        against: &[
            (&["--cold-poll-interval", "4m59s"], "at least --hot-poll-interval"),
            (&["--cold-poll-interval", "1h", "--hot-poll-interval", "2h"], "'1h'"),
        ],
        ..DURATION
    },
    Row { flag: "--refresh-plan", good: &["tiers", "usage"], unknown: &[Bad("off"), Bad("Usage")], ..CHOICE },
    Row { flag: "--refresh-budget", good: &["0.33", "1", "1e-9"], zero: &[Bad("0"), Bad("0.0"), Bad("-0")], ..SHARE },
    Row {
        flag: "--longest-refresh-interval",
        good: &["5m", "720h"],
        zero: &[Bad("0"), Bad("0s")],
        huge: &[Bad("721h"), Bad("99999h"), Bad("99999999999999999999s"), BadLong("")],
        against: &[
            (&["--longest-refresh-interval", "4m59s", "--refresh-plan", "usage"], "at least --hot-poll-interval"),
            (&["--longest-refresh-interval", "1h", "--hot-poll-interval", "2h", "--refresh-plan", "usage"], "'1h'"),
        ],
        ..DURATION
    },
    Row {
        flag: "--leader-elect-lease-duration",
        good: &["30s", "1h"],
        zero: &[Bad("0"), Bad("0s")],
        huge: &[Bad("3601s"), Bad("99999h"), Bad("99999999999999999999s"), BadLong("")],
        unit: &[Bad("60"), Bad("1500ms"), Bad("15.5s"), Bad("5 parsecs")],
        ..DURATION
    },
    Row {
        flag: "--leader-elect-renew-deadline",
        good: &["9s", "14s999ms"],
        zero: &[Bad("0"), Bad("0s")],
        against: &[
            (&["--leader-elect-renew-deadline", "15s"], "less than --leader-elect-lease-duration"),
            (&["--leader-elect-renew-deadline", "1h", "--leader-elect-lease-duration", "1h"], "'1h'"),
        ],
        ..DURATION
    },
    Row {
        flag: "--leader-elect-retry-period",
        good: &["50ms", "8s"],
        zero: &[Bad("0"), Bad("0s")],
        against: &[(&["--leader-elect-retry-period", "9s"], "less than --leader-elect-renew-deadline divided by 1.2")],
        ..DURATION
    },
    Row { flag: "--leader-elect-resource-name", good: &["mcpgateway-operator", "a.b-c"], ..NAME },
    Row {
        flag: "--leader-elect-resource-namespace",
        unknown: &[Bad("Upper"), Bad("a.b"), Bad("a/b"), Bad("a,b")],
        ..NAME
    },
    Row { flag: "--metrics-bind-address", ..ADDRESS },
    Row {
        flag: "--health-probe-bind-address",
        against: &[(
            &["--health-probe-bind-address", "127.0.0.1:18080", "--metrics-bind-address", ":18080"],
            "its own address; --metrics-bind-address has this one",
        )],
        ..ADDRESS
    },
    Row {
        flag: "--api-bind-address",
        // :0 stands for all addresses, which are not loopback.
        zero: &[Good("0"), Good("127.0.0.1:0")],
        against: &[
            (&["--api-bind-address", ":0"], "a loopback address such as 127.0.0.1:8082 unless --api-token-file is set"),
            (&["--api-bind-address", "10.0.0.1:18082"], "'10.0.0.1:18082'"),
            (
                &[
                    "--api-bind-address",
                    ":18080",
                    "--metrics-bind-address",
                    "127.0.0.1:18080",
                    "--api-token-file",
                    "/t",
                ],
                "its own address; --metrics-bind-address has this one",
            ),
            (
                &["--api-bind-address", "127.0.0.1:18081", "--health-probe-bind-address", ":18081"],
                "its own address; --health-probe-bind-address has this one",
            ),
        ],
        ..ADDRESS
    },
    Row {
        flag: "--api-token-file",
        beside: &["--api-bind-address", "127.0.0.1:0"],
        against: &[(&["--api-token-file", "/t"], "needs --api-bind-address")],
        ..FILE
    },
    Row { flag: "--log-format", good: &["text", "json"], unknown: &[Bad("xml"), Bad("JSON")], ..CHOICE },
    Row {
        flag: "--log-level",
        good: &["warn", "error,mcpgateway_operator::publish=debug", "kube=off"],
        // The library would read a number as a level.
        unknown: &[Bad("verbose"), Bad("a=b=c"), Bad("info,loud"), Bad("info,kube=loud"), Bad("5"), Bad("info,")],
        ..TEXT
    },
];
