//! Hexadecimal IDs: 16 digits at once, and flow IDs in both spellings.

use crate::FlowId;

/// Returns the hex digits of a flow ID in hyphenated form.
#[inline]
pub(crate) fn without_hyphens(text: &[u8; 36]) -> Option<[u8; 32]> {
    let [
        a0,
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        b'-',
        b0,
        b1,
        b2,
        b3,
        b'-',
        c0,
        c1,
        c2,
        c3,
        b'-',
        d0,
        d1,
        d2,
        d3,
        b'-',
        e0,
        e1,
        e2,
        e3,
        e4,
        e5,
        e6,
        e7,
        e8,
        e9,
        e10,
        e11,
    ] = *text
    else {
        return None;
    };
    Some([
        a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, e0, e1, e2,
        e3, e4, e5, e6, e7, e8, e9, e10, e11,
    ])
}

/// Parses 32 hex digits as a flow ID.
#[inline]
pub(crate) fn flow_id(simple: &[u8; 32]) -> Option<FlowId> {
    let (high, low) = (simple.first_chunk::<16>()?, simple.last_chunk::<16>()?);
    FlowId::from_u128(u128::from(hex16(*high)?) << 64 | u128::from(hex16(*low)?)).ok()
}

/// Parses 16 hex digits. Ids make up most of what is parsed of an ordinary line. Converting all
/// digits at once takes a third of the time of two conversions of eight digits in a register.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn hex16(digits: [u8; 16]) -> Option<u64> {
    // SAFETY: SSE2 is part of x86-64, and the function has no other requirement: its argument and
    // its result are plain values.
    #[expect(unsafe_code, reason = "calling a function with `target_feature` requires `unsafe`")]
    unsafe {
        hex16_sse2(digits)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn hex16_sse2(digits: [u8; 16]) -> Option<u64> {
    use std::arch::x86_64::{
        _mm_add_epi8, _mm_and_si128, _mm_cmpgt_epi8, _mm_cvtsi128_si64, _mm_movemask_epi8,
        _mm_or_si128, _mm_packus_epi16, _mm_set_epi64x, _mm_set1_epi8, _mm_set1_epi16,
        _mm_slli_epi16, _mm_srli_epi16,
    };
    let word = u128::from_le_bytes(digits).cast_signed();
    #[expect(clippy::cast_possible_truncation, reason = "each cast keeps one half of the number")]
    let text = _mm_set_epi64x((word >> 64) as i64, word as i64);
    // Non-ASCII bytes are negative, so they compare less than any digit.
    let is_digit = _mm_and_si128(
        _mm_cmpgt_epi8(text, _mm_set1_epi8(0x2f)),
        _mm_cmpgt_epi8(_mm_set1_epi8(0x3a), text),
    );
    let lower = _mm_or_si128(text, _mm_set1_epi8(0x20));
    let is_letter = _mm_and_si128(
        _mm_cmpgt_epi8(lower, _mm_set1_epi8(0x60)),
        _mm_cmpgt_epi8(_mm_set1_epi8(0x67), lower),
    );
    if _mm_movemask_epi8(_mm_or_si128(is_digit, is_letter)) != 0xffff {
        return None;
    }
    let nibbles = _mm_add_epi8(
        _mm_and_si128(text, _mm_set1_epi8(0x0f)),
        _mm_and_si128(is_letter, _mm_set1_epi8(9)),
    );
    let pairs = _mm_or_si128(_mm_slli_epi16(nibbles, 4), _mm_srli_epi16(nibbles, 8));
    let pairs = _mm_and_si128(pairs, _mm_set1_epi16(0xff));
    Some(_mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs)).cast_unsigned().swap_bytes())
}

/// Parses 16 hex digits.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn hex16(digits: [u8; 16]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |value, digit| Some(value << 4 | u64::from((*digit as char).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_parse_like_the_standard_library() {
        for index in 0..16 {
            for byte in 0..=255u8 {
                let mut digits = *b"019aAaFca5da7347";
                digits[index] = byte;
                let expected = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|text| !text.contains('+'))
                    .and_then(|text| u64::from_str_radix(text, 16).ok());
                assert_eq!(hex16(digits), expected, "{digits:?}");
            }
        }
    }

    #[test]
    fn flow_ids_parse_in_both_forms() {
        let (hyphenated, simple) =
            (b"019aaaac-a5da-7347-bb80-1089c1876100", b"019aaaaca5da7347bb801089c1876100");
        assert_eq!(without_hyphens(hyphenated).as_ref(), Some(simple));
        assert_eq!(flow_id(simple).unwrap().to_string().as_bytes(), hyphenated);
        for at in [8, 13, 18, 23] {
            let mut other = *hyphenated;
            other[at] = b'x';
            assert_eq!(without_hyphens(&other), None, "{at}");
        }
    }
}
