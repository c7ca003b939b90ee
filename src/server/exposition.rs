//! The metrics in the format that a scraper accepts: `OpenMetrics` 1.0.0 or the Prometheus text format 0.0.4. No IO.

use std::fmt::Write;

use axum::http::{HeaderMap, header};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    /// Every scraper reads it, so it is also the answer to a header that names neither format.
    Prometheus,
}

impl Format {
    /// The format with the highest weight in `Accept`; of several, the first.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = ranges.flat_map(|value| value.split(',')).filter_map(Self::of_range);
        let mut best = (Self::Prometheus, 0.0);
        for (format, weight) in ranges {
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// The format that a media range means, and its weight; `None` for anything else.
    fn of_range(range: &str) -> Option<(Self, f32)> {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next()?.to_ascii_lowercase();
        let (mut version, mut weight) = (None, 1.0);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => version = Some(value),
                "q" => weight = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
                _ => {}
            }
        }
        let format = match (kind.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Self::OpenMetrics,
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Self::Prometheus,
            _ => return None,
        };
        Some((format, weight))
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Writes all metrics.
    pub(super) fn write(self, registry: &Registry) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, registry)?;
        match self {
            Self::OpenMetrics => Ok(text),
            Self::Prometheus => prometheus_text(&text),
        }
    }
}

/// Translates `OpenMetrics`, as `prometheus_client` writes it: that crate has no encoder for the older format. The
/// samples are the same. The older format has no types `info` and `unknown`, no units and no end mark, and names a
/// metric as its samples, with `_total` or `_info`.
fn prometheus_text(open_metrics: &str) -> Result<String, std::fmt::Error> {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            // HELP and TYPE of a metric follow each other, and the type decides how the name ends.
            ["#", "HELP", name, help] => {
                let described = lines.next_if(|line| line.starts_with("# TYPE "));
                let kind = described.and_then(|line| line.rsplit(' ').next()).unwrap_or("unknown");
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}")?;
            }
            ["#", ..] => {}
            _ => writeln!(text, "{line}")?,
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;

    use super::*;

    fn accepted(values: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|value| _ = headers.append(header::ACCEPT, HeaderValue::from_static(value)));
        Format::accepted(&headers)
    }

    #[test]
    fn the_format_is_what_accept_asks_for() {
        use Format::{OpenMetrics, Prometheus};
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (values, format) in [
            (&[][..], Prometheus),
            (&["*/*"], Prometheus),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Prometheus),
            (&["text/plain"], Prometheus),
            (&["text/plain; version=0.0.4; charset=utf-8"], Prometheus),
            (&["text/plain;version=1.0.0"], Prometheus),
            (&["application/json"], Prometheus),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text ; Version=\"1.0.0\" ; charset=utf-8"], OpenMetrics),
            (&["application/openmetrics-text;version=0.0.1"], Prometheus),
            (&["application/openmetrics-text;version=2.0.0,*/*"], Prometheus),
            (&["application/openmetrics-text;q=0"], Prometheus),
            (&["application/openmetrics-text;q=0.001,text/plain;q=0"], OpenMetrics),
            (&["text/plain;q=0.5,application/openmetrics-text;q=0.6"], OpenMetrics),
            (&["text/plain,application/openmetrics-text"], Prometheus),
            (&["text/plain;q=0.5", "application/openmetrics-text"], OpenMetrics),
            (&["application/openmetrics-text;q=2"], Prometheus),
            (&["application/openmetrics-text;q="], Prometheus),
            (&[",;=,;;,q=1"], Prometheus),
            (
                &["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"],
                Prometheus,
            ),
            (&[prometheus_3], OpenMetrics),
            (&[prometheus_2], OpenMetrics),
        ] {
            assert_eq!(accepted(values), format, "{values:?}");
        }
    }

    #[test]
    fn each_type_of_metric_is_translated() {
        let mut registry = Registry::default();
        let counters = Family::<[(&str, &str); 1], Counter>::default();
        counters.get_or_create(&[("reason", "a # TYPE b\n\"\\")]).inc();
        registry.register("reads", "Reads", counters);
        registry.register_with_unit("start", "Start", Unit::Seconds, Gauge::<i64>::default());
        registry.register("build", "Build", Info::new([("version", "1")]));
        let histogram = Histogram::new([0.5]);
        histogram.observe(0.25);
        registry.register("took", "Took", histogram);
        let text = Format::Prometheus.write(&registry).unwrap();
        let expected = r#"# HELP reads_total Reads.
# TYPE reads_total counter
reads_total{reason="a # TYPE b\n\"\\"} 1
# HELP start_seconds Start.
# TYPE start_seconds gauge
start_seconds 0
# HELP build_info Build.
# TYPE build_info gauge
build_info{version="1"} 1
# HELP took Took.
# TYPE took histogram
took_sum 0.25
took_count 1
took_bucket{le="0.5"} 1
took_bucket{le="+Inf"} 1
"#;
        assert_eq!(text, expected);
    }
}
