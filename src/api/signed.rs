//! Batches that an author signed elsewhere.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::app::App;
use super::error::Failure;
use super::input;
use crate::crypto::{Digest, PublicKey, Signature};
use crate::http::{Posted, SignedDto};
use crate::wire::limits::MAX_BODY;
use crate::wire::{Batch, Blob, Header, MessageId};

/// Longest JSON body in bytes: the longest batch in base64 with half of it escaped, and room for
/// the other fields.
const MAX_JSON: usize = 2 * MAX_BODY + (64 << 10);

/// Publish a batch that an author signed.
///
/// The author must have the role `author` in the network file. A batch that this node holds already
/// is answered as if it were new.
#[utoipa::path(
    post, path = "/v1/messages/signed", request_body = SignedDto,
    responses(
        (status = 201, description = "The batch is durable: stored now or earlier", body = Posted),
        (status = 400, description = "Not a valid batch"),
        (status = 403, description = "A member's key"),
        (status = 409, description = "Not the next slot: see `expected`"),
        (status = 413),
        (status = 415),
        (status = 422, description = "Refused: see `reason`"),
        (status = 429, description = "Over the author's quota: see Retry-After"),
        (status = 503),
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Json<Posted>), Failure> {
    if !input::is_json(request.headers()) {
        let detail = "the body must be application/json";
        return Err(Failure::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let received = input::receive(app.bodies(), request, MAX_JSON).await?;
    let signed: SignedDto = serde_json::from_slice(&received.bytes).map_err(|error| {
        Failure::bad(format!("not a batch: {}", input::cut(&error.to_string())))
    })?;
    let batch = batch(&signed)?;
    let (author, seq) = (batch.header.author, batch.header.seq);
    let id = app.handle().submit(batch).await?;
    let id = MessageId { batch: id, index: 0 };
    let posted = Posted { id: id.to_string(), author: author.to_string(), seq, index: 0 };
    Ok((StatusCode::CREATED, Json(posted)))
}

/// Builds the batch from the fields and checks its shape. Whether it is genuine is for the node to
/// check.
fn batch(signed: &SignedDto) -> Result<Batch, Failure> {
    let digest = |name: &str, text: &str| {
        Digest::from_hex(text).ok_or_else(|| Failure::bad(format!("{name} is not 64 hex digits")))
    };
    let body = STANDARD
        .decode(&signed.body_base64)
        .map_err(|error| Failure::bad(format!("body_base64 is not base64: {error}")))?;
    let length = body.len();
    let body = Blob::new(body).ok_or_else(|| {
        Failure::too_long(format!("a batch's body has at most {MAX_BODY} bytes, not {length}"))
    })?;
    let header = Header {
        network: digest("network", &signed.network)?,
        author: PublicKey::from_hex(&signed.author)
            .ok_or_else(|| Failure::bad("author is not a key of 64 hex digits"))?,
        seq: signed.seq,
        base: signed.base.unwrap_or(signed.seq.saturating_sub(1)),
        prev: digest("prev", &signed.prev)?,
        created_at: signed.created_at,
        count: signed.count,
        length: u32::try_from(length).unwrap_or(u32::MAX),
        content: digest("content", &signed.content)?,
    };
    let signature = Signature::from_hex(&signed.signature)
        .ok_or_else(|| Failure::bad("signature is not 128 hex digits"))?;
    let batch = Batch { header, signature, body };
    batch.check_shape().map_err(|error| Failure::bad(error.to_string()))?;
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing;

    #[test]
    fn the_signed_form_reads_back_and_bad_fields_are_named() {
        let original = testing::batch(5, Digest([1; 32]), 1, Digest::ZERO, "hello");
        let good = SignedDto::from(&original);
        assert_eq!(batch(&good).expect("reads"), original);
        for (bad, hint) in [
            (SignedDto { network: "0".into(), ..good.clone() }, "network"),
            (SignedDto { author: String::new(), ..good.clone() }, "author"),
            (SignedDto { prev: "zz".into(), ..good.clone() }, "prev"),
            (SignedDto { content: "é".into(), ..good.clone() }, "content"),
            (SignedDto { signature: good.content.clone(), ..good.clone() }, "signature"),
            (SignedDto { body_base64: "?".into(), ..good.clone() }, "base64"),
            (SignedDto { count: 2, ..good.clone() }, "count"),
            (SignedDto { seq: 0, ..good.clone() }, "a slot is"),
        ] {
            let failure = batch(&bad).expect_err(hint);
            assert_eq!(failure.problem.status, 400);
            assert!(failure.problem.detail.contains(hint), "{hint}: {}", failure.problem.detail);
        }
        let long = STANDARD.encode(vec![0; MAX_BODY + 1]);
        let failure = batch(&SignedDto { body_base64: long, ..good }).expect_err("too long");
        assert_eq!(failure.problem.status, 413);
    }
}
