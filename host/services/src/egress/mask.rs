//! Keeps what the host put into a request out of its answer: a server that repeats a request, as error pages and
//! debugging endpoints do, would hand the secret to the guest.
//!
//! Bytes are replaced by as many stars, so that lengths stay what was announced. It finds a secret as it was sent,
//! not one that the server encodes: whoever names a host in a policy trusts it that far.
//!
//! Where and when an answer is handed on follows from lengths alone, never from what it says: until more comes, or its
//! end, its last bytes wait, one fewer than the longest secret has. So a guest that waits for the last of an event
//! sees it with the next one.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aop_core::Secret;
use aop_core::egress::EgressBody;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use memchr::memmem::Finder;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The shortest secret that is looked for, in bytes: a shorter one is found by trying, and stars would spoil
/// answers in which it is by chance.
const SECRET_MIN_BYTES: usize = 8;

/// What is kept out of an answer.
#[derive(Clone)]
pub(super) struct Mask(Arc<[Wanted]>);

/// A secret that is looked for.
struct Wanted {
    secret: Secret,
    /// How much later it can begin again within itself at the earliest.
    period: usize,
}

impl Mask {
    /// None when nothing has to be kept out.
    pub(super) fn of(secrets: Vec<Secret>) -> Option<Self> {
        let long = |secret: &Secret| secret.expose().len() >= SECRET_MIN_BYTES;
        let wanted: Vec<_> = secrets.into_iter().filter(long).map(Wanted::new).collect();
        (!wanted.is_empty()).then(|| Self(wanted.into()))
    }

    /// Where secrets are. They may overlap, themselves and each other: all of them are looked for before any is covered.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for Wanted { secret, period } in &*self.0 {
            let secret = secret.expose().as_bytes();
            // Made for each search: one that is kept would hold a copy of the secret.
            let finder = Finder::new(secret);
            let mut from = 0;
            while let Some(at) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
                let at = from + at;
                found.push(at..at + secret.len());
                from = at + period;
            }
        }
        found
    }

    /// Replaces every secret in `bytes`.
    fn cover(&self, bytes: &mut [u8]) {
        for range in self.find(bytes) {
            bytes[range].fill(b'*');
        }
    }

    /// How many bytes at the end are held back: as many as the longest secret can have begun with, whatever they are.
    /// Were it as many as do begin one, where an answer is cut would tell a guest, who makes a server repeat its guesses,
    /// how much of a guess is right.
    fn undecided(&self) -> usize {
        let lengths = self.0.iter().map(|wanted| wanted.secret.expose().len() - 1);
        lengths.max().unwrap_or(0)
    }

    pub(super) fn cover_headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let mut bytes = value.as_bytes().to_vec();
            self.cover(&mut bytes);
            if bytes != value.as_bytes()
                && let Ok(covered) = HeaderValue::from_bytes(&bytes)
            {
                *value = covered;
            }
        }
    }

    pub(super) fn cover_body(self, body: EgressBody) -> EgressBody {
        let (held, covered, trailers) = (BytesMut::new(), 0, None);
        Box::pin(Masked { mask: self, inner: body, held, covered, trailers })
    }
}

impl Wanted {
    fn new(secret: Secret) -> Self {
        let bytes = secret.expose().as_bytes();
        // By the longest beginning that is also an end (Knuth, Morris and Pratt).
        let mut borders = vec![0; bytes.len()];
        for at in 1..bytes.len() {
            let mut border: usize = borders[at - 1];
            while border > 0 && bytes[border] != bytes[at] {
                border = borders[border - 1];
            }
            borders[at] = border + usize::from(bytes[border] == bytes[at]);
        }
        let period = bytes.len() - borders.last().copied().unwrap_or(0);
        Self { period, secret }
    }
}

/// A body whose secrets are covered. It holds back what may be the beginning of one. Of a body that fails, what is held
/// back is never shown: a guest that chooses where it fails, by a limit, would be shown the beginning of a secret.
struct Masked {
    mask: Mask,
    inner: EgressBody,
    /// As it came: what is covered of it may still belong to another secret.
    held: BytesMut,
    /// How much of its beginning belongs to a secret whose own beginning was let go.
    covered: usize,
    /// Come after what is held back.
    trailers: Option<HeaderMap>,
}

impl Masked {
    fn take(&mut self, data: &Bytes) -> Bytes {
        self.held.extend_from_slice(data);
        let decided = self.held.len().saturating_sub(self.mask.undecided());
        // Nothing is looked for until something can be let go: an answer may come byte by byte.
        if decided == 0 { Bytes::new() } else { self.let_go(decided) }
    }

    /// The rest, of which nothing can be a secret that goes on.
    fn rest(&mut self) -> Bytes {
        self.let_go(self.held.len())
    }

    fn let_go(&mut self, decided: usize) -> Bytes {
        let mut found = self.mask.find(&self.held);
        let mut shown = self.held.split_to(decided);
        let begun = found.iter().filter(|range| range.start < decided);
        // Whatever begins later is there as a whole to be found again.
        let over = begun.map(|range| range.end).max().unwrap_or(0).max(self.covered);
        found.push(0..self.covered);
        self.covered = over.saturating_sub(decided);
        for range in found {
            shown[range.start.min(decided)..range.end.min(decided)].fill(b'*');
        }
        shown.freeze()
    }
}

impl Body for Masked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        loop {
            let frame = ready!(self.inner.as_mut().poll_frame(context)).transpose()?;
            let frame = frame.map(|frame| frame.into_data());
            let rest = match frame {
                Some(Ok(data)) => {
                    let decided = self.take(&data);
                    if decided.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(decided))));
                }
                Some(Err(frame)) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    self.mask.cover_headers(&mut trailers);
                    self.trailers = Some(trailers);
                    self.rest()
                }
                None => self.rest(),
            };
            return Poll::Ready(match (rest.is_empty(), self.trailers.take()) {
                (true, None) => None,
                (true, Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
                (false, trailers) => {
                    self.trailers = trailers;
                    Some(Ok(Frame::data(rest)))
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.trailers.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + held);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        Mask::of(secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect()).unwrap()
    }

    /// The frames of an answer: what is in each, and how often it was asked for and not ready.
    fn frames(mask: Mask, pieces: Vec<Frame<Bytes>>) -> Vec<(usize, Frame<Bytes>)> {
        // Each piece keeps its reader waiting once, so that it counts when it comes.
        let pieces = pieces.into_iter().flat_map(|piece| [None, Some(Ok(piece))]);
        let mut pieces = pieces.collect::<std::collections::VecDeque<_>>();
        let pending = futures::stream::poll_fn(move |_| match pieces.pop_front() {
            Some(None) => Poll::Pending,
            Some(piece) => Poll::Ready(piece),
            None => Poll::Ready(None),
        });
        let mut body = mask.cover_body(Box::pin(StreamBody::new(pending)));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut seen, mut waited) = (Vec::new(), 0);
        loop {
            match body.as_mut().poll_frame(&mut context) {
                Poll::Pending => waited += 1,
                Poll::Ready(Some(frame)) => seen.push((waited, frame.unwrap())),
                Poll::Ready(None) => return seen,
            }
        }
    }

    fn covered(mask: Mask, pieces: Vec<Vec<u8>>) -> Vec<u8> {
        let pieces = pieces.into_iter().map(|piece| Frame::data(Bytes::from(piece))).collect();
        let data = frames(mask, pieces).into_iter().map(|(_, frame)| frame.into_data().unwrap());
        data.flatten().collect()
    }

    /// Where frames end, and when they came.
    fn ends(mask: Mask, pieces: &[Vec<u8>], trailers: bool) -> Vec<(usize, usize, bool)> {
        let mut sent: Vec<_> =
            pieces.iter().map(|piece| Frame::data(Bytes::from(piece.clone()))).collect();
        if trailers {
            let trailer = HeaderValue::from_static("x");
            sent.push(Frame::trailers(HeaderMap::from_iter([(http::header::ETAG, trailer)])));
        }
        let seen = frames(mask, sent).into_iter();
        let end = |(waited, frame): (usize, Frame<Bytes>)| {
            let length = frame.data_ref().map_or(0, Bytes::len);
            (waited, length, frame.is_trailers())
        };
        seen.map(end).collect()
    }

    #[test]
    fn a_secret_is_covered_wherever_the_answer_is_cut() {
        let text = b"you sent: Bearer hunter2hunter2, twice hunter2hunter2hunter2";
        let expected = b"you sent: Bearer **************, twice *********************";
        for cut in 0..=text.len() {
            let pieces = vec![text[..cut].to_vec(), text[cut..].to_vec()];
            assert_eq!(covered(mask(&["hunter2hunter2"]), pieces), expected, "cut at {cut}");
        }
    }

    #[test]
    fn secrets_that_overlap_are_covered_both() {
        let text = b"<abcdefghijkl> <ijklmnop-abcdefgh>";
        let expected = b"<************> <********-********>";
        for cut in 0..=text.len() {
            for secrets in [["abcdefgh", "efghijkl"], ["efghijkl", "abcdefgh"]] {
                let mask = mask(&[secrets[0], secrets[1], "ijklmnop"]);
                let pieces = vec![text[..cut].to_vec(), text[cut..].to_vec()];
                assert_eq!(covered(mask, pieces), expected, "cut at {cut}");
            }
            let pieces = text.iter().map(|byte| vec![*byte]).collect();
            let mask = mask(&["abcdefgh", "efghijkl", "ijklmnop"]);
            assert_eq!(covered(mask, pieces), expected, "byte by byte");
        }
    }

    #[test]
    fn what_is_short_or_absent_is_left_alone() {
        assert!(Mask::of(vec![Secret::new("short".to_owned())]).is_none());
        assert!(Mask::of(Vec::new()).is_none());
        let text = b"nothing here: secret-valu".to_vec();
        assert_eq!(covered(mask(&["secret-value"]), vec![text.clone()]), text);
    }

    #[test]
    fn a_guess_is_not_told_by_where_the_answer_is_cut() {
        // What an attacker measured: the server repeats a guess, and the last of it came by itself when it was right.
        let secret = "hunter2hunter2hunter";
        let of =
            |guess: &[u8]| ends(mask(&[secret]), &[b"you sent: ".to_vec(), guess.to_vec()], false);
        for length in 1..secret.len() {
            let wrong = [&secret.as_bytes()[..length - 1], b"!"].concat();
            assert_eq!(of(&secret.as_bytes()[..length]), of(&wrong), "{length}");
        }
    }

    #[test]
    fn what_is_held_back_is_not_shown_when_the_answer_fails() {
        let pieces =
            [Ok(Frame::data(Bytes::from_static(b"before: secret-valu"))), Err("cut".into())];
        let mut body = mask(&["secret-value"])
            .cover_body(Box::pin(StreamBody::new(futures::stream::iter(pieces))));
        let first = futures::executor::block_on(body.frame()).unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), b"before: "[..]);
        assert!(futures::executor::block_on(body.frame()).unwrap().is_err());
    }

    #[test]
    fn headers_are_covered() {
        let mut headers = HeaderMap::new();
        headers.insert("location", HeaderValue::from_static("/?key=secret-value&a=b"));
        mask(&["secret-value"]).cover_headers(&mut headers);
        assert_eq!(headers["location"], "/?key=************&a=b");
    }

    proptest! {
        #[test]
        fn it_never_shows_one_and_keeps_every_length(
            pieces in prop::collection::vec("[ab-]{0,6}", 0..12),
        ) {
            let secret = "abababab-a";
            let pieces: Vec<_> = pieces.into_iter().map(String::into_bytes).collect();
            let whole: Vec<u8> = pieces.concat();
            let shown = covered(mask(&[secret]), pieces);
            prop_assert_eq!(shown.len(), whole.len());
            let mut expected = whole.clone();
            for at in 0..whole.len() {
                if whole[at..].starts_with(secret.as_bytes()) {
                    expected[at..at + secret.len()].fill(b'*');
                }
            }
            prop_assert_eq!(shown, expected);
        }

        #[test]
        fn where_and_when_it_is_cut_follows_from_lengths_alone(
            pieces in prop::collection::vec("[ab-]{0,14}", 0..12), trailers: bool,
        ) {
            let secrets = || mask(&["abababab-a", "bab-ab-abab-"]);
            let pieces: Vec<_> = pieces.into_iter().map(String::into_bytes).collect();
            let blank: Vec<_> = pieces.iter().map(|piece| vec![b'.'; piece.len()]).collect();
            prop_assert_eq!(ends(secrets(), &pieces, trailers), ends(secrets(), &blank, trailers));
        }
    }
}
