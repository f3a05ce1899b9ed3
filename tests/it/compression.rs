//! Compressed gRPC messages: gzip is taken, within the limits of what it inflates to.

use prost::Message;
use tonic::Code;

use crate::support::http::say;
use crate::support::{bare_echo, budget, grpc, start};

/// The answer to a unary chat call with these bytes and headers: its gRPC code, message and `grpc-accept-encoding`.
async fn call_with(
    server: &tokenecho::Server,
    headers: &[(&'static str, &'static str)],
    body: Vec<u8>,
) -> (Code, String, String) {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("{}/tokenecho.v1.ChatService/CreateChatCompletion", server.grpc_endpoint());
    let request = client.post(url).header("content-type", "application/grpc").header("te", "trailers");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.body(body).send().await.expect("an answer");
    let text = |name: &str| {
        let value = response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        value.unwrap_or_default()
    };
    // A call that is answered has its status behind its message.
    let code = text("grpc-status").parse::<i32>().map_or(Code::Ok, Code::from);
    (code, text("grpc-message"), text("grpc-accept-encoding"))
}

/// A message as gRPC frames it, compressed.
fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, message).expect("a Vec takes all");
    let packed = encoder.finish().expect("a Vec takes all");
    let length = u32::try_from(packed.len()).expect("it is small");
    [&[1][..], &length.to_be_bytes(), &packed].concat()
}

#[tokio::test]
async fn a_compressed_message_is_served_and_every_answer_names_the_encodings() {
    let server = start(bare_echo()).await;
    let message = grpc::request(&say("Hello there")).encode_to_vec();
    let plain = [&[0][..], &u32::try_from(message.len()).expect("small").to_be_bytes(), &message].concat();

    let unary = call_with(&server, &[("grpc-encoding", "gzip")], gzipped(&message)).await;
    assert_eq!((unary.0, unary.2.as_str()), (Code::Ok, "identity,gzip"), "{}", unary.1);
    // With an encoding named, single messages may still be plain.
    assert_eq!(call_with(&server, &[("grpc-encoding", "gzip")], plain.clone()).await.0, Code::Ok);
    assert_eq!(call_with(&server, &[("grpc-encoding", "identity")], plain).await.0, Code::Ok);

    let mut chat = grpc::chat(&server).await.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let answer = chat.create_chat_completion(grpc::request(&say("Hello there"))).await.expect("an answer");
    let message = answer.into_inner().choices[0].message.clone().expect("a message");
    assert_eq!(message.content.as_deref(), Some("Hello there"));
    let stream = chat.stream_chat_completion(grpc::request(&say("Hello there"))).await.expect("a stream");
    let mut items = stream.into_inner();
    while items.message().await.expect("no failure").is_some() {}
}

#[tokio::test]
async fn an_encoding_that_is_unknown_or_not_named_is_reported_as_the_grpc_specification_asks() {
    let server = start(bare_echo()).await;

    let (code, message, known) = call_with(&server, &[("grpc-encoding", "br")], vec![0; 5]).await;
    assert_eq!((code, known.as_str()), (Code::Unimplemented, "identity,gzip"));
    assert!(message.contains("br") && message.contains("identity,%20gzip"), "{message}");
    for headers in [&[][..], &[("grpc-encoding", "identity")]] {
        let (code, message, _) = call_with(&server, headers, gzipped(b"")).await;
        assert_eq!(code, Code::Internal);
        assert!(message.contains("grpc-encoding"), "{message}");
    }
}

#[tokio::test]
async fn a_compressed_message_is_bounded_by_what_it_inflates_to() {
    let server = start(budget(bare_echo(), 1 << 20)).await;
    let bomb = grpc::request(&say(&"x".repeat(64 << 20))).encode_to_vec();
    let fits = grpc::request(&say(&"x".repeat(100 << 10))).encode_to_vec();

    let (code, message, _) = call_with(&server, &[("grpc-encoding", "gzip")], gzipped(&bomb)).await;

    assert_eq!((code, message.contains("1048576%20bytes")), (Code::ResourceExhausted, true), "{message}");
    assert_eq!(call_with(&server, &[("grpc-encoding", "gzip")], gzipped(&fits)).await.0, Code::Ok);
    // Its size in memory counts, not that on the wire.
    let too_much = grpc::request(&say(&"x".repeat(900 << 10))).encode_to_vec();
    let (code, ..) = call_with(&server, &[("grpc-encoding", "gzip")], gzipped(&too_much)).await;
    assert_eq!(code, Code::ResourceExhausted);
}

#[tokio::test]
async fn a_compressed_question_without_a_key_is_bounded_by_what_it_inflates_to() {
    let server = start(bare_echo().api_key("123").expect("a key")).await;
    // A field that no message knows, of a megabyte; packed it is one kilobyte.
    let zeros = [&b"\xfa\x3f\x80\x80\x40"[..], &vec![0; 1 << 20]].concat();
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let status = grpc::call(&server, path, &[("grpc-encoding", "gzip")], gzipped(&zeros)).await;

        assert_eq!(status.code(), Code::ResourceExhausted, "{path}: {status:?}");
        assert!(status.message().contains("16384 bytes"), "{path}: {status:?}");
    }
}
