//! Answers that came packed (gzip, brotli), unpacked up to the bytes that are kept.
//!
//! What unpacks to more is cut there like any long body, so a bomb costs its kept bytes and no more. The
//! large-window variant of brotli, which may ask for a gigabyte, is refused.

use crate::error::Error;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::io::Read;

/// What is asked for.
pub(crate) const ACCEPTED: &str = "gzip, br";
/// Bytes unpacked at a time.
const STEP: usize = 16 << 10;

/// The body as it was before it was packed, and whether some of it is missing. Headers that
/// describe the packed form go. An encoding that was not asked for is an error.
pub(crate) fn unpack(
    headers: &mut HeaderMap,
    body: Bytes,
    cut: bool,
    keep: usize,
) -> Result<(Bytes, bool), Error> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok((body, cut)) };
    let encoding = encoding.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    let (mut out, whole) = match encoding.as_str() {
        "" | "identity" => return Ok((body, cut)),
        _ if body.is_empty() => (vec![], true),
        "gzip" | "x-gzip" => gzip(&body, keep),
        "br" => brotli(&body, keep),
        other => {
            return Err(Error::Protocol(format!("the body is packed as {other:?}, asked was {ACCEPTED}")));
        }
    };
    let longer = out.len() > keep;
    if !whole && !longer && !cut {
        return Err(Error::Protocol(format!("the body is not whole {encoding}")));
    }
    out.truncate(keep);
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    Ok((out.into(), longer || cut))
}

/// At most a byte more than `keep`; whether it came to its end in order.
fn gzip(body: &[u8], keep: usize) -> (Vec<u8>, bool) {
    let (mut out, most) = (Vec::new(), keep as u64 + 1);
    let whole = flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(&mut out).is_ok();
    (out, whole)
}

/// The same for brotli.
fn brotli(body: &[u8], keep: usize) -> (Vec<u8>, bool) {
    let alloc = StandardAlloc::default;
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    let (mut left, mut at, mut total, mut out) = (body.len(), 0, 0, Vec::new());
    let mut step = vec![0; STEP];
    loop {
        let (mut room, mut filled) = (STEP, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut at,
            body,
            &mut room,
            &mut filled,
            &mut step,
            &mut total,
            &mut state,
        );
        out.extend_from_slice(&step[..filled]);
        match result {
            BrotliResult::ResultSuccess => return (out, true),
            BrotliResult::NeedsMoreOutput if out.len() <= keep => {}
            _ => return (out, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(text: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
    }

    fn tried(encoding: &'static str, body: Bytes, keep: usize) -> Result<(Bytes, bool), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        let out = unpack(&mut headers, body, false, keep)?;
        assert!(headers.is_empty());
        Ok(out)
    }

    #[test]
    fn what_was_packed_comes_out_and_a_bomb_is_cut() {
        let bomb = packed(&vec![7; 50 << 20]);
        assert!(bomb.len() < 100 << 10);
        let (out, cut) = tried("gzip", bomb.clone(), 1 << 20).unwrap();
        assert!(cut && out.len() == 1 << 20 && out.iter().all(|b| *b == 7));
        let (out, cut) = tried("gzip", packed(b"hello"), 5).unwrap();
        assert!(!cut && out == b"hello"[..], "exactly as long is not cut");
        // "hello" as one uncompressed block, RFC 7932 section 9.2, then the empty last block.
        let brotli: &[u8] = &[0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        assert_eq!(
            tried("br", Bytes::from_static(brotli), 100).unwrap(),
            (Bytes::from_static(b"hello"), false)
        );
        assert_eq!(tried("br", Bytes::from_static(brotli), 4).unwrap(), (Bytes::from_static(b"hell"), true));
    }

    #[test]
    fn broken_and_strange_packing_is_an_error() {
        let whole = packed(b"hello, hello, hello");
        for (encoding, body) in [
            ("gzip", whole.slice(..whole.len() - 4)),
            ("gzip", Bytes::from_static(b"not gzip at all")),
            ("br", Bytes::from_static(b"\xff\xff\xff\xff")),
            ("compress", Bytes::from_static(b"x")),
        ] {
            assert!(matches!(tried(encoding, body, 1000), Err(Error::Protocol(_))), "{encoding}");
        }
    }
}
