//! Bodies: limits, gzip, and what is broken.

use super::*;

#[tokio::test]
async fn a_body_above_the_limit_fails_while_it_streams() {
    let endless = || async {
        let chunk = Bytes::from(vec![b' '; 1000]);
        let stream = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
        (JSON, Body::from_stream(stream)).into_response()
    };
    let endpoint = serve(Router::new().route("/usage", get(endless))).await;
    let fixture = Fixture::new(CollectorSettings { max_report_bytes: 100_000, ..settings() });
    fixture.must_fail(endpoint, "TooLarge").await;
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const GZIPPED_JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("content-encoding", "gzip")];

#[tokio::test]
async fn gzip_is_asked_for_and_accepted() {
    let endpoint = serve(Router::new().route(
        "/usage",
        get(|headers: HeaderMap| async move {
            assert!(headers["accept-encoding"].to_str().unwrap().contains("gzip"));
            (GZIPPED_JSON, gzipped(report("w").as_bytes()))
        }),
    ))
    .await;
    assert!(Fixture::new(settings()).collect(&[endpoint]).await.answers[0].answer.report().is_some());
}

#[tokio::test]
async fn the_limit_holds_for_decoded_bytes() {
    let bomb = gzipped(&vec![b' '; 10_000_000]);
    assert!(bomb.len() < 20_000);
    let fixture = Fixture::new(CollectorSettings { max_report_bytes: 100_000, ..settings() });
    fixture.must_fail(answering((GZIPPED_JSON, bomb)).await, "TooLarge").await;
}

#[tokio::test]
async fn broken_bodies_fail() {
    fails_with(answering((GZIPPED_JSON, "no gzip")).await, "Body").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lying = endpoint(&format!("http://{}/", listener.local_addr().unwrap()));
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{}";
        stream.write_all(head.as_bytes()).await.unwrap();
    });
    fails_with(lying, "Body").await;
}

#[tokio::test]
async fn large_reports_are_parsed_too() {
    let padded = report("w").replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(200_000)), 1);
    let collection = Fixture::new(settings()).collect(&[answering((JSON, padded)).await]).await;
    assert!(collection.answers[0].answer.report().is_some());
}

#[tokio::test]
async fn the_limit_holds_for_bytes_on_the_wire_too() {
    // Members that unpack to nothing, without end.
    let nothing = gzipped(b"").repeat(10_000);
    assert!(nothing.len() > 100_000);
    let fixture = Fixture::new(CollectorSettings { max_report_bytes: 100_000, ..settings() });
    fixture.must_fail(answering((GZIPPED_JSON, nothing)).await, "TooLarge").await;
}

#[tokio::test]
async fn gzip_that_is_cut_off_is_no_report() {
    let whole = gzipped(report("w").as_bytes());
    for end in [0, 5, whole.len() / 2, whole.len() - 1] {
        let fixture = Fixture::new(settings());
        let collection = fixture.collect(&[answering((GZIPPED_JSON, whole[..end].to_vec())).await]).await;
        assert_eq!(collection.answers[0].answer, Answer::NoReport, "{end} of {}", whole.len());
    }
}

#[tokio::test]
async fn other_encodings_are_refused_by_name() {
    for encoding in ["br", "deflate", "gzip, gzip"] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        fails_with(answering((headers, "x")).await, "Encoding").await;
    }
    let plain = [("content-type", "application/json"), ("content-encoding", "identity")];
    let collection = Fixture::new(settings()).collect(&[answering((plain, report("w"))).await]).await;
    assert!(collection.answers[0].answer.report().is_some());
}

#[tokio::test]
async fn a_large_gzip_report_is_read_in_many_parts() {
    let padding = "\"padding\":1.5,".repeat(200_000);
    let text = report("w").replacen('{', &format!("{{{padding}"), 1);
    let packed = gzipped(text.as_bytes());
    assert!(text.len() > 100 * packed.len());
    let collection = Fixture::new(settings()).collect(&[answering((GZIPPED_JSON, packed)).await]).await;
    assert!(collection.answers[0].answer.report().is_some());
}
