//! For any bytes: an answer with a proper error.

use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_as_a_body_get_a_proper_error(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");

        let status = runtime.block_on(async {
            let server = crate::support::start(crate::support::bare_echo()).await;
            let (status, _) = crate::support::http::failure(crate::support::http::post(&server, body).await).await;
            status
        });

        prop_assert_eq!(status, 400);
    }
}
