//! For any text: what a generation says is what the plain rules say, whole or as a stream, however the engine
//! gives its reply.

use std::sync::Arc;

use futures_util::StreamExt;
use proptest::prelude::*;
use tokenecho::api::chat::{ChatRequest, StopSequences};
use tokenecho::api::{ApiRequest, Validation};
use tokenecho::engine::tokens::Tokens;
use tokenecho::engine::{
    Budget, Completion, Content, Engine, Event, FinishReason, Generation, GenerationRequest, Limit, Message,
    Pacing, Replies, Reply, Role, Schedule, Segment,
};
use tokenecho::error::ApiError;

/// Says a text as known whole, or piece by piece with pauses in between.
struct Fixed {
    text: String,
    in_pieces: bool,
}

impl Engine for Fixed {
    fn generate(&self, request: &Arc<GenerationRequest>) -> Result<Replies, ApiError> {
        if !self.in_pieces {
            return Ok(Replies::Same(vec![Segment::Text(self.text.clone().into())]));
        }
        let reply = |_| {
            let tokens: Vec<_> = Tokens::of(self.text.clone().into()).collect();
            Reply::live(futures_util::stream::iter(tokens).then(|token| async {
                tokio::task::yield_now().await;
                Ok(token)
            }))
        };
        Ok(Replies::Each((0..request.choices()).map(reply).collect()))
    }
}

/// What the plain rules say: tokens up to the limit, cut before the stop sequence that ends first.
fn expected(text: &str, limit: Option<usize>, stops: &[String]) -> (String, FinishReason, u32) {
    let tokens: Vec<_> = Tokens::of(text.into()).collect();
    let said = tokens.len().min(limit.unwrap_or(usize::MAX));
    let whole: String = tokens[..said].iter().map(|token| &**token).collect();
    let ends = (0..)
        .zip(stops)
        .filter_map(|(index, stop)| whole.find(stop.as_str()).map(|at| (at + stop.len(), at, index)));
    let (text, reason) = match ends.min() {
        Some((_, at, index)) => (whole[..at].to_owned(), FinishReason::Stop { sequence: Some(index) }),
        None if said < tokens.len() => (whole, FinishReason::Length { by: Limit::Request }),
        None => (whole, FinishReason::Stop { sequence: None }),
    };
    let mut sent = 0;
    let count = tokens.iter().take_while(|token| {
        let begins_before_the_cut = sent < text.len();
        sent += token.len();
        begins_before_the_cut
    });
    let count = u32::try_from(count.count()).expect("small");
    (text, reason, count)
}

async fn generation(
    text: &str,
    in_pieces: bool,
    n: i64,
    limit: Option<usize>,
    stops: &[String],
) -> Generation {
    let parameters = ChatRequest {
        messages: vec![Message::new(Role::User, Some(Content::Text("x".into())))],
        n: Some(n),
        max_tokens: limit.map(|limit| i64::try_from(limit).expect("small")),
        stop: StopSequences(stops.to_vec()),
        ..ChatRequest::default()
    };
    let request = Arc::new(parameters.check("mock", Validation::Lenient).expect("a good request"));
    let engine = Fixed { text: text.into(), in_pieces };
    let schedule = Schedule::new(Pacing::default(), tokio::time::Instant::now());
    Generation::begin(&engine, &request, schedule, Budget { tokens: 10_000, bytes: 1 << 20 })
        .await
        .expect("small")
}

proptest! {
    #[test]
    fn stop_limits_and_n_agree_between_stream_and_unary_for_any_text(
        text in "[ab ,日]{0,40}|\\PC{0,40}",
        limit in proptest::option::of(0_usize..20),
        stops in proptest::collection::vec("[ab ,日]{1,4}", 0..4),
        n in 1_i64..4,
        in_pieces: bool,
    ) {
        let (said, reason, tokens) = expected(&text, limit, &stops);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

        let whole = runtime.block_on(async {
            Completion::collect(generation(&text, in_pieces, n, limit, &stops).await).await
        });
        let whole = whole.expect("no failure");
        let events: Vec<_> =
            runtime.block_on(async { generation(&text, false, n, limit, &stops).await.collect().await });

        let n = usize::try_from(n).expect("small");
        prop_assert_eq!(whole.choices.len(), n);
        for choice in &whole.choices {
            prop_assert_eq!(&choice.text, &said);
            prop_assert_eq!(choice.finish_reason, reason);
        }
        prop_assert_eq!(whole.usage.completion_tokens, tokens * u32::try_from(n).expect("small"));
        let mut streamed = vec![String::new(); n];
        for event in events {
            match event.expect("no failure") {
                Event::Delta { choice, token, .. } => {
                    prop_assert!(!token.delta.text().is_empty());
                    streamed[choice].push_str(token.delta.text());
                }
                Event::Finished { reason: ended, .. } => prop_assert_eq!(ended, reason),
                Event::Usage(usage) => prop_assert_eq!(usage, whole.usage),
                Event::Started | Event::Opened { .. } => {}
            }
        }
        prop_assert!(streamed.iter().all(|text| *text == said));
    }

    #[test]
    fn any_bytes_as_a_body_are_answered_in_form(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");

        let status = runtime.block_on(async {
            let server = crate::support::start(crate::support::bare_echo()).await;
            let (status, _) = crate::support::http::failure(crate::support::http::post(&server, body).await).await;
            status
        });

        prop_assert_eq!(status, 400);
    }
}
