//! Stop sequences: finds where a reply must end while it is generated.
//!
//! Each sequence is matched by a Knuth-Morris-Pratt automaton. Its state is the number of bytes matched so far, which
//! is also the number of bytes that may start a match and must not be sent yet. It takes one amortized step per byte,
//! however long or repetitive a sequence is.

use std::sync::Arc;

/// The stop sequences of a request, prepared for matching; shared by its choices.
#[derive(Clone, Debug, Default)]
pub(super) struct StopSequences(Arc<[Sequence]>);

#[derive(Debug)]
struct Sequence {
    text: String,
    /// For every prefix, the length of its longest proper prefix that is also its suffix.
    borders: Vec<u32>,
}

impl StopSequences {
    /// Memory of a prepared sequence, for each of its bytes.
    pub(super) const BYTES_KEPT: usize = 1 + size_of::<u32>();

    /// Prepares `sequences`; none of them may be empty.
    pub(super) fn new(sequences: Vec<String>) -> Self {
        Self(sequences.into_iter().map(Sequence::new).collect())
    }

    /// Whether the request has none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Sequence {
    fn new(text: String) -> Self {
        let bytes = text.as_bytes();
        let mut borders = vec![0];
        let mut state = 0;
        for &byte in &bytes[1..] {
            while state > 0 && bytes[state] != byte {
                state = borders[state - 1] as usize;
            }
            state += usize::from(bytes[state] == byte);
            borders.push(u32::try_from(state).unwrap_or(u32::MAX));
        }
        Self { text, borders }
    }

    /// The state after `byte`; must not be called after a full match.
    fn step(&self, mut state: usize, byte: u8) -> usize {
        let bytes = self.text.as_bytes();
        while state > 0 && bytes[state] != byte {
            state = self.borders[state - 1] as usize;
        }
        state + usize::from(bytes[state] == byte)
    }
}

/// Finds stop sequences in one choice's text.
#[derive(Debug)]
pub(super) struct StopMatcher {
    sequences: StopSequences,
    states: Vec<usize>,
}

/// The result of reading a piece. Lengths count back from the end of the piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No match; the last `held` bytes may start one.
    Nothing {
        /// How many bytes to hold back until more is read.
        held: usize,
    },
    /// A match ended inside the piece.
    Match {
        /// From the match's first byte to the end of the piece, in bytes.
        from_end: usize,
        /// The index of the sequence.
        sequence: u8,
    },
}

impl StopMatcher {
    /// Starts at the beginning of a text.
    pub(super) fn new(sequences: StopSequences) -> Self {
        let states = vec![0; sequences.0.len()];
        Self { sequences, states }
    }

    /// Discards partial matches, because the text is interrupted.
    pub(super) fn reset(&mut self) {
        self.states.fill(0);
    }

    /// Reads the next piece. Of several matches the one that ends first counts, then the longest.
    pub(super) fn read(&mut self, piece: &str) -> Found {
        for (at, byte) in piece.bytes().enumerate() {
            let mut matched: Option<(usize, u8)> = None;
            for (index, (sequence, state)) in (0..).zip(self.sequences.0.iter().zip(&mut self.states)) {
                *state = sequence.step(*state, byte);
                if *state == sequence.text.len() && matched.is_none_or(|(longest, _)| *state > longest) {
                    matched = Some((*state, index));
                }
            }
            if let Some((length, sequence)) = matched {
                return Found::Match { from_end: length + piece.len() - (at + 1), sequence };
            }
        }
        Found::Nothing { held: self.states.iter().copied().max().unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(sequences: &[&str]) -> StopMatcher {
        StopMatcher::new(StopSequences::new(sequences.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn a_match_is_found_across_pieces() {
        let mut stop = matcher(&["lo wo"]);

        assert_eq!(stop.read("hel"), Found::Nothing { held: 1 });
        assert_eq!(stop.read("lo"), Found::Nothing { held: 2 });
        assert_eq!(stop.read(" world"), Found::Match { from_end: 8, sequence: 0 });
    }

    #[test]
    fn a_failed_beginning_is_let_go() {
        let mut stop = matcher(&["aab"]);

        assert_eq!(stop.read("aaa"), Found::Nothing { held: 2 });
        assert_eq!(stop.read("c"), Found::Nothing { held: 0 });
        assert_eq!(stop.read("aab"), Found::Match { from_end: 3, sequence: 0 });
    }

    #[test]
    fn the_first_match_to_end_counts() {
        assert_eq!(matcher(&["cde", "bc"]).read("abcdef"), Found::Match { from_end: 5, sequence: 1 });
        assert_eq!(matcher(&["c", "bc"]).read("abc"), Found::Match { from_end: 2, sequence: 1 });
    }
}
