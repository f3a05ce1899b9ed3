//! gRPC reflection: every symbol of the contract, by its full name.

use prost::Message;
use tonic::Code;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{bare_echo, grpc, start};

#[tokio::test]
async fn reflection_v1_and_v1alpha_list_our_services_and_health() {
    let server = start(bare_echo()).await;
    let expected = ["grpc.health.v1.Health", "tokenecho.v1.ChatService", "tokenecho.v1.ModelService"];

    let mut client = v1::server_reflection_client::ServerReflectionClient::new(grpc::channel(&server).await);
    let ask = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.expect("v1").into_inner();
    let answer = answers.message().await.expect("an answer").expect("one").message_response;
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("no list: {answer:?}");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, expected);

    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(grpc::channel(&server).await);
    for symbol in expected {
        let ask = v1alpha::ServerReflectionRequest {
            message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                symbol.into(),
            )),
            ..Default::default()
        };
        let mut answers =
            client.server_reflection_info(tokio_stream::once(ask)).await.expect("v1alpha").into_inner();
        answers.message().await.expect("a descriptor").expect("one");
    }
}

/// What reflection answers to each of these questions, on one stream.
async fn reflected(
    server: &tokenecho::Server,
    questions: Vec<v1::server_reflection_request::MessageRequest>,
) -> Vec<MessageResponse> {
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(grpc::channel(server).await);
    let count = questions.len();
    let asked = questions.into_iter().map(|question| v1::ServerReflectionRequest {
        message_request: Some(question),
        ..Default::default()
    });
    let asked = tokio_stream::iter(asked.collect::<Vec<_>>());
    let answers = client.server_reflection_info(asked).await.expect("a stream").into_inner();
    let answers: Vec<_> = futures_util::StreamExt::collect(answers).await;
    assert_eq!(answers.len(), count);
    let answers = answers.into_iter();
    answers.map(|answer| answer.expect("no failure").message_response.expect("one")).collect()
}

/// The names of the files in an answer, the one that was asked for first.
fn files(answer: &MessageResponse) -> Vec<String> {
    let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("no files: {answer:?}") };
    let files = files.file_descriptor_proto.iter();
    let file = files.map(|file| prost_types::FileDescriptorProto::decode(&**file).expect("a descriptor"));
    file.map(|file| file.name().to_owned()).collect()
}

#[tokio::test]
async fn reflection_knows_every_symbol_by_its_full_name_and_no_other() {
    use v1::server_reflection_request::MessageRequest::FileContainingSymbol;
    let server = start(bare_echo()).await;
    let chat = "tokenecho/v1/chat.proto";
    for (symbol, file) in [
        ("tokenecho.v1.ChatService", chat),
        ("tokenecho.v1.ChatService.StreamChatCompletion", chat),
        ("tokenecho.v1.ChatMessage", chat),
        ("tokenecho.v1.ChatMessage.role", chat),
        ("tokenecho.v1.ChatMessage.content", chat),
        ("tokenecho.v1.Role", chat),
        ("tokenecho.v1.ROLE_USER", chat),
        ("grpc.health.v1.HealthCheckResponse.SERVING", "grpc/health/v1/health.proto"),
        ("google.rpc.Status", "google/rpc/status.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
        ("google.rpc.ErrorInfo", "google/rpc/error_details.proto"),
        ("google.rpc.RetryInfo.retry_delay", "google/rpc/error_details.proto"),
    ] {
        let answers = reflected(&server, vec![FileContainingSymbol(symbol.into())]).await;
        assert_eq!(files(&answers[0])[0], file, "{symbol}");
    }
    for unknown in
        ["tokenecho.v1.Role.ROLE_USER", "tokenecho.v1", "tokenecho.v1.Nothing", "", ".tokenecho.v1.Role"]
    {
        let answers = reflected(&server, vec![FileContainingSymbol(unknown.into())]).await;
        assert!(matches!(answers[0], MessageResponse::ErrorResponse(_)), "{unknown}");
    }
}

#[tokio::test]
async fn a_question_that_is_too_large_or_not_a_message_ends_the_stream_with_our_error() {
    let server = start(bare_echo()).await;
    let large = [&[0, 0, 0, 0x42, 0x68][..], &vec![0; 17_000]].concat();
    for (question, code, http_status) in [
        (large, Code::ResourceExhausted, 413),
        (b"\0\0\0\0\x03\xff\xff\xff".to_vec(), Code::InvalidArgument, 400),
        (b"\x02\0\0\0\0".to_vec(), Code::InvalidArgument, 400),
        (b"\0\0\0\0\x09abc".to_vec(), Code::InvalidArgument, 400),
        (b"\x01\0\0\0\0".to_vec(), Code::Internal, 400),
    ] {
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            let status = grpc::call(&server, &path, &[], question.clone()).await;

            assert_eq!(status.code(), code, "{question:?}: {status:?}");
            assert_eq!(grpc::failure(&status).0, http_status);
        }
    }
}

#[tokio::test]
async fn reflection_answers_an_unknown_name_and_goes_on() {
    use v1::server_reflection_request::MessageRequest as Ask;
    let server = start(bare_echo()).await;
    let extension = v1::ExtensionRequest { containing_type: "tokenecho.v1.Role".into(), extension_number: 1 };

    let answers = reflected(
        &server,
        vec![
            Ask::FileByFilename("no/such.proto".into()),
            Ask::FileContainingSymbol("no.such.Symbol".into()),
            Ask::FileContainingExtension(extension),
            Ask::AllExtensionNumbersOfType("no.such.Message".into()),
            Ask::AllExtensionNumbersOfType("tokenecho.v1.ChatMessage".into()),
            Ask::FileByFilename("tokenecho/v1/chat.proto".into()),
        ],
    )
    .await;

    for answer in &answers[..4] {
        let MessageResponse::ErrorResponse(error) = answer else { panic!("no error: {answer:?}") };
        assert_eq!(error.error_code, Code::NotFound as i32, "{error:?}");
    }
    let MessageResponse::AllExtensionNumbersResponse(numbers) = &answers[4] else {
        panic!("{:?}", answers[4])
    };
    assert_eq!(
        (numbers.base_type_name.as_str(), numbers.extension_number.len()),
        ("tokenecho.v1.ChatMessage", 0)
    );
    assert_eq!(files(&answers[5])[0], "tokenecho/v1/chat.proto");
}

#[tokio::test]
async fn a_question_with_a_key_is_bounded_like_one_without() {
    let builder = bare_echo().api_key("123").expect("a key");
    let keyed =
        builder.configure(|config| config.listeners.reflection = tokenecho::config::Reflection::Keyed);
    let server = start(keyed).await;
    let large = [&[0, 0, 0, 0x42, 0x68][..], &vec![0; 17_000]].concat();
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

    let status = grpc::call(&server, path, &[("authorization", "Bearer 123")], large).await;

    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("16384 bytes"), "{status:?}");
}
