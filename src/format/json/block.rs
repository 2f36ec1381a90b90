//! Sixteen bytes of text at once: which of them matter.
//!
//! Bit `i` of a mask stands for byte `i`. Three questions are asked: where a string may stop, where a bare word ends, and
//! what matters for nesting.

pub(super) use imp::{nesting_mask, string_masks, token_mask};

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8};

    /// Where a string may stop (quote, backslash, newline), and where a byte is above 127.
    #[inline(always)]
    pub(in super::super) fn string_masks(block: &[u8; 16]) -> (u32, u32) {
        #[expect(unsafe_code, reason = "these intrinsics are part of SSE2, which every x86_64 has")]
        // SAFETY: as said; no memory is touched.
        unsafe {
            let bytes = vector(block);
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let slash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let line = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8));
            let stop = _mm_or_si128(_mm_or_si128(quote, slash), line);
            (_mm_movemask_epi8(stop) as u32, _mm_movemask_epi8(bytes) as u32)
        }
    }

    /// Where a bare word ends: `,` `}` `]`, white space or a control character.
    #[inline(always)]
    pub(in super::super) fn token_mask(block: &[u8; 16]) -> u32 {
        #[expect(unsafe_code, reason = "these intrinsics are part of SSE2, which every x86_64 has")]
        // SAFETY: as said; no memory is touched.
        unsafe {
            let bytes = vector(block);
            let blank = _mm_set1_epi8(b' ' as i8);
            let comma = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b',' as i8));
            // `]` and `}` differ in bit 5 only, the one that a blank has.
            let bracket = _mm_cmpeq_epi8(_mm_or_si128(bytes, blank), _mm_set1_epi8(b'}' as i8));
            let blank = _mm_cmpeq_epi8(_mm_max_epu8(bytes, blank), blank);
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(comma, bracket), blank)) as u32
        }
    }

    /// What matters for nesting: quotes, brackets, newlines.
    #[inline(always)]
    pub(in super::super) fn nesting_mask(block: &[u8; 16]) -> u32 {
        #[expect(unsafe_code, reason = "these intrinsics are part of SSE2, which every x86_64 has")]
        // SAFETY: as said; no memory is touched.
        unsafe {
            let bytes = vector(block);
            let folded = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            let open = _mm_cmpeq_epi8(folded, _mm_set1_epi8(b'{' as i8));
            let close = _mm_cmpeq_epi8(folded, _mm_set1_epi8(b'}' as i8));
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let line = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n' as i8));
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(open, close), _mm_or_si128(quote, line))) as u32
        }
    }

    #[inline(always)]
    fn vector(block: &[u8; 16]) -> __m128i {
        let bits = u128::from_le_bytes(*block);
        #[expect(unsafe_code, reason = "this intrinsic is part of SSE2, which every x86_64 has")]
        // SAFETY: as said; no memory is touched. The compiler makes one load of it.
        unsafe {
            _mm_set_epi64x((bits >> 64) as i64, bits as i64)
        }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    fn mask_of(block: &[u8; 16], test: impl Fn(u8) -> bool) -> u32 {
        block.iter().enumerate().fold(0, |mask, (i, &b)| mask | (u32::from(test(b)) << i))
    }

    pub(in super::super) fn string_masks(block: &[u8; 16]) -> (u32, u32) {
        (mask_of(block, |b| matches!(b, b'"' | b'\\' | b'\n')), mask_of(block, |b| b >= 0x80))
    }

    pub(in super::super) fn token_mask(block: &[u8; 16]) -> u32 {
        mask_of(block, |b| b <= b' ' || matches!(b, b',' | b'}' | b']'))
    }

    pub(in super::super) fn nesting_mask(block: &[u8; 16]) -> u32 {
        mask_of(block, |b| matches!(b, b'{' | b'}' | b'[' | b']' | b'"' | b'\n'))
    }
}

#[cfg(not(target_arch = "x86_64"))]
use plain as imp;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_see_the_same(block: [u8; 16]) {
            prop_assert_eq!(string_masks(&block), plain::string_masks(&block));
            prop_assert_eq!(token_mask(&block), plain::token_mask(&block));
            prop_assert_eq!(nesting_mask(&block), plain::nesting_mask(&block));
        }
    }
}
