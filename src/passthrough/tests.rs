//! What is read of texts and JSON, and what is dropped of them.

use super::*;
use crate::secret::Secret;

/// The families as lines of our own: `kind name` and, behind each sample's labels, its part, bound and value.
fn shown(exposition: &Exposition) -> Vec<String> {
    let sample = |sample: &Sample| {
        let bound = if sample.part == Part::Bucket || sample.part == Part::Quantile {
            format!(" {:?}", sample.bound)
        } else {
            String::new()
        };
        format!(" {{{}}} {:?}{bound} = {:?}", sample.labels, sample.part, sample.value)
    };
    let family = |family: &Family| {
        let help = if family.help.is_empty() { String::new() } else { format!(": {}", family.help) };
        let head = format!("{:?} {}{help}", family.kind, family.name);
        std::iter::once(head).chain(family.samples.iter().map(sample)).collect::<Vec<_>>()
    };
    exposition.families.iter().flat_map(family).collect()
}

#[track_caller]
fn read(text: &str, series: usize) -> (Vec<String>, Vec<String>) {
    let redactor = Redactor::new([&Secret::new("hunter2")]);
    let taken = |name: &str| name == "mcp_up" || name == "ours_total" || name.starts_with("process_");
    let (exposition, dropped) = parse(text, Bounds { series, taken, redactor: &redactor });
    assert!(exposition.samples() <= series);
    let dropped = Reason::ALL.iter().filter(|reason| dropped[**reason as usize] > 0);
    let dropped = dropped.map(|reason| reason.label()).collect::<Vec<_>>();
    (shown(&exposition), dropped.into_iter().map(str::to_owned).collect())
}

/// What is read, and the reasons for what is not.
#[track_caller]
fn check(text: &str, expected: &[&str], dropped: &[&str]) {
    let (found, reasons) = read(text, 100);
    assert_eq!(found, expected, "{text}");
    assert_eq!(reasons, dropped, "{text}");
}

/// One sample is dropped, and nothing else is there.
#[track_caller]
fn refused(text: &str, reason: &str) {
    check(text, &[], &[reason]);
}

#[test]
fn both_text_formats_say_the_same() {
    let expected = ["Counter jobs_total: Jobs.", " {queue=\"a\"} Value = 3.0"];
    check("# HELP jobs_total Jobs.\n# TYPE jobs_total counter\njobs_total{queue=\"a\"} 3\n", &expected, &[]);
    check("# HELP jobs Jobs.\n# TYPE jobs counter\njobs{queue=\"a\"} 3\n", &expected, &[]);
    check("# TYPE jobs counter\n# HELP jobs Jobs.\njobs_total{queue=\"a\"} 3\n# EOF\nafter 1\n", &expected, &[]);
    check("jobs_total{ queue = \"a\" , } 3 1700000000000\n# TYPE jobs counter\n# HELP jobs Jobs.\n", &expected, &[]);
}

#[test]
fn every_type_of_openmetrics_is_read() {
    check(
        "# TYPE b info\nb_info{version=\"1\"} 1\n\
         # TYPE g gauge\n# UNIT g bytes\ng 1.5e3\n\
         # TYPE gh gaugehistogram\ngh_bucket{le=\"1\"} 2\ngh_bucket{le=\"+Inf\"} 3\ngh_gcount 3\ngh_gsum 4\n\
         # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 9\ns_count 2\ns_created 1\n\
         # TYPE st stateset\nst{st=\"on\",a=\"x\"} 1\nst{st=\"off\",a=\"x\"} 0\n\
         # TYPE u unknown\nu -Inf\n# EOF\n",
        &[
            "Info b_info",
            " {version=\"1\"} Value = 1.0",
            "Gauge g",
            " {} Value = 1500.0",
            "GaugeHistogram gh",
            " {} Bucket 1.0 = 2.0",
            " {} Bucket inf = 3.0",
            " {} Sum = 4.0",
            " {} Count = 3.0",
            "Summary s",
            " {} Quantile 0.5 = NaN",
            " {} Sum = 9.0",
            " {} Count = 2.0",
            "StateSet st",
            " {a=\"x\",st=\"off\"} Value = 0.0",
            " {a=\"x\",st=\"on\"} Value = 1.0",
            "Unknown u",
            " {} Value = -inf",
        ],
        &[],
    );
}

#[test]
fn histograms_are_put_in_order_and_made_whole() {
    let whole = [
        "Histogram h",
        " {a=\"1\"} Bucket 0.5 = 1.0",
        " {a=\"1\"} Bucket inf = 2.0",
        " {a=\"1\"} Sum = 3.0",
        " {a=\"1\"} Count = 2.0",
    ];
    let with = |lines: &str| format!("# TYPE h histogram\n{lines}");
    let (half, inf) = ("h_bucket{a=\"1\",le=\"0.5\"} 1\n", "h_bucket{le=\"+Inf\",a=\"1\"} 2 # {trace=\"x\"} 1\n");
    let (sum, count) = ("h_sum{a=\"1\"} 3\n", "h_count{a=\"1\"} 2\n");
    check(&with(&[count, inf, sum, half].concat()), &whole, &[]);
    check(&with(&[half, sum, inf].concat()), &whole, &[]);
    check(&with(&[half, sum, count].concat()), &whole, &[]);
    let without_sum = [&whole[..3], &[]].concat();
    check(&with(&[half, count].concat()), &without_sum, &[]);
    // It contradicts itself, or says nothing.
    refused(&with("h_bucket{le=\"1\"} 5\nh_bucket{le=\"+Inf\"} 4\n"), "bad_value");
    refused(&with("h_bucket{le=\"+Inf\"} 4\nh_count 5\n"), "bad_value");
    refused(&with("h_bucket{le=\"1\"} 4\nh_sum 5\n"), "bad_value");
    refused(&with("h_bucket{le=\"NaN\"} 4\n"), "bad_value");
    refused(&with("h_bucket 4\n"), "bad_value");
    refused(&with("h_count{le=\"1\"} 4\n"), "bad_name");
    refused(&with("h 4\n"), "bad_name");
    let below = "h_bucket{le=\"-1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum -2\n";
    let without_sum = ["Histogram h", " {} Bucket -1.0 = 1.0", " {} Bucket inf = 1.0"];
    check(&with(below), &without_sum, &["bad_value"]);
}

#[test]
fn values_are_those_that_the_type_can_have() {
    for value in ["NaN", "+Inf", "-1e300", "0"] {
        let (found, dropped) = read(&format!("a {value}\n"), 1);
        assert_eq!((found.len(), dropped.len()), (2, 0), "{value}");
    }
    for line in ["c_total -1", "c_total NaN", "i_info 2", "st{st=\"x\"} 0.5", "st 1", "s{quantile=\"2\"} 1", "s 1"] {
        let types = "# TYPE c counter\n# TYPE i info\n# TYPE st stateset\n# TYPE s summary\n";
        refused(&format!("{types}{line}\n"), "bad_value");
    }
}

#[test]
fn lines_that_are_none_are_counted() {
    for line in
        ["a", "a ", "{a=\"1\"} 1", "a{b=\"1\" 1", "a{b=1} 1", "a{b=\"1\"}", "a x", "a 1 x", "a{b=\"\\", "<html> "]
    {
        refused(line, "unreadable");
    }
    check("\r\n# a comment\n#\n# TYPE\n# TYPE a\n# TYPE a nonsense\n", &[], &[]);
    check("", &[], &[]);
}

#[test]
fn names_are_those_that_every_prometheus_knows() {
    for line in
        ["9a 1", "a-b 1", "a{9b=\"1\"} 1", "a{__name__=\"b\"} 1", "a{b:c=\"1\"} 1", "a{b=\"1\",b=\"2\"} 1", "größe 1"]
    {
        refused(line, "bad_name");
    }
    refused(&format!("{} 1", "a".repeat(129)), "bad_name");
    refused("{\"my.metric\"} 1", "unreadable");
    check("job:a:rate5m 1", &["Unknown job:a:rate5m", " {} Value = 1.0"], &[]);
}

#[test]
fn our_names_are_ours() {
    refused("mcp_up 1", "reserved");
    refused("process_resident_memory_bytes 1", "reserved");
    refused("# TYPE ours counter\nours_total 1", "reserved");
    refused("# TYPE mcp_up counter\nmcp_up_total 1", "reserved");
    check("mcp_up_total 1", &["Unknown mcp_up_total", " {} Value = 1.0"], &[]);
}

#[test]
fn label_values_are_texts_fit_to_be_shown() {
    let secret = "a{b=\"x \\\"hunter2\\\" \\\\ \\n\",c=\"\",d=\"é\u{202e}\"} 1";
    check(secret, &["Unknown a", " {b=\"x \\\"***\\\" \\\\\",d=\"é\"} Value = 1.0"], &[]);
    refused("a{hunter2=\"x\"} 1", "bad_name");
    refused("hunter2 1", "bad_name");
    check("# HELP a It is hunter2.\na 1", &["Unknown a: It is ***.", " {} Value = 1.0"], &[]);
    let (found, _) = read(&format!("a{{b=\"{}\"}} 1", "x".repeat(200)), 10);
    assert_eq!(found[1], format!(" {{b=\"{}\"}} Value = 1.0", "x".repeat(128)));
}

#[test]
fn of_two_samples_of_one_series_the_first_is_kept() {
    check(
        "a{b=\"1\"} 1\na 2\na{b=\"1\"} 3\na{c=\"\"} 4\n",
        &["Unknown a", " {} Value = 2.0", " {b=\"1\"} Value = 1.0"],
        &["duplicate"],
    );
    check(
        "# TYPE a counter\n# TYPE a_total counter\na 1\na_total 2\n",
        &["Counter a_total", " {} Value = 1.0"],
        &["duplicate"],
    );
    // Of two types as well.
    check("# TYPE a gauge\n# TYPE a counter\na 1\n", &["Gauge a", " {} Value = 1.0"], &[]);
}

#[test]
fn what_is_too_much_is_dropped() {
    let (found, dropped) = read("a 1\nb 2\nc 3\n", 2);
    assert_eq!((found.len(), dropped), (4, vec!["limit".to_owned()]));
    // A histogram is kept whole or not at all.
    let histogram = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";
    assert_eq!(read(histogram, 4).0.len(), 5);
    assert_eq!(read(histogram, 3), (vec![], vec!["limit".to_owned()]));
    assert_eq!(read("# TYPE h histogram\nh_sum 1\nh_count 1\n", 2), (vec![], vec!["limit".to_owned()]));
    let labels: Vec<_> = (0..=MOST_LABELS).map(|index| format!("l{index}=\"x\"")).collect();
    refused(&format!("a{{{}}} 1", labels.join(",")), "limit");
    let many: String = (0..=MOST_FAMILIES).map(|index| format!("a{index} 1\n")).collect();
    let (found, dropped) = read(&many, MOST_FAMILIES + 10);
    assert_eq!((found.len(), dropped), (2 * MOST_FAMILIES, vec!["limit".to_owned()]));
}

#[test]
fn json_is_read_with_either_spelling() {
    let expected = [
        "Counter requests_total: Requests.",
        " {} Value = 7.0",
        "Histogram seconds",
        " {tool=\"x\"} Bucket 0.1 = 1.0",
        " {tool=\"x\"} Bucket inf = 2.0",
        " {tool=\"x\"} Sum = 0.5",
        " {tool=\"x\"} Count = 2.0",
        "Gauge size",
        " {n=\"1\",ok=\"true\"} Value = 3.5",
    ];
    check(
        r#"{"counters": [{"name": "requests_total", "help_text": "Requests.", "value": 7}],
            "histograms": [{"name": "seconds", "labels": {"tool": "x"}, "sum": 0.5, "count": 2,
                            "buckets": [{"bucket_le": 0.1, "count": 1}, {"bucket_le": "+Inf", "count": 2}]}],
            "gauges": [{"name": "size", "labels": {"n": 1, "ok": true, "no": null}, "value": "3.5"}]}"#,
        &expected,
        &[],
    );
    check(
        r#"{"result": {"counters": [{"name": "requests", "help": "Requests.", "value": 7, "labels": null}],
            "histograms": [{"name": "seconds", "labels": {"tool": "x"}, "sum": 0.5, "count": 2,
                            "buckets": [{"le": "0.1", "count": 1}]}],
            "gauges": [{"name": "size", "labels": {"n": 1, "ok": true}, "value": 3.5}]}}"#,
        &expected,
        &[],
    );
    for text in [
        "{}",
        "{\"counters\": 1}",
        "{\"counters\": [1]}",
        "{\"counters\": [{\"name\": \"a\"}]}",
        "{\"gauges\": [{\"name\": \"a\", \"value\": \"x\"}]}",
        "{\"gauges\": [{\"name\": \"a\", \"value\": 1, \"labels\": {\"a\": [1]}}]}",
        "{\"gauges\": [{\"name\": \"a\", \"value\": NaN}]}",
    ] {
        refused(text, "unreadable");
    }
    let both = r#"{"counters": [{"name": "a_total", "value": 1}], "gauges": [{"name": "a_total", "value": 2}]}"#;
    check(both, &["Counter a_total", " {} Value = 1.0"], &["conflict"]);
}
