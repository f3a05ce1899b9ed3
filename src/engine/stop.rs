//! Stop sequences: where a reply has to end, found while it is generated.
//!
//! Each sequence is matched by Knuth, Morris and Pratt's automaton. Its state after every byte is how much of
//! the sequence has been seen, so it also shows how many bytes may still begin a match and must
//! not be sent yet; and no sequence, however long or repetitive, makes it slower than one step a byte.

use std::sync::Arc;

/// The stop sequences of a request, ready to be matched; shared by its choices.
#[derive(Clone, Debug, Default)]
pub(super) struct StopSequences(Arc<[Sequence]>);

#[derive(Debug)]
struct Sequence {
    text: String,
    /// For every prefix: the longest shorter prefix that is also its end.
    borders: Vec<u32>,
}

impl StopSequences {
    /// What a prepared sequence keeps in memory, for each of its bytes.
    pub(super) const BYTES_KEPT: usize = 1 + size_of::<u32>();

    /// Prepares `sequences`, none of them empty.
    pub(super) fn new(sequences: Vec<String>) -> Self {
        Self(sequences.into_iter().map(Sequence::new).collect())
    }

    /// Whether there is anything to look for.
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

    /// The state after `byte`; never called on a full match.
    fn step(&self, mut state: usize, byte: u8) -> usize {
        let bytes = self.text.as_bytes();
        while state > 0 && bytes[state] != byte {
            state = self.borders[state - 1] as usize;
        }
        state + usize::from(bytes[state] == byte)
    }
}

/// Reads one choice's text and looks for its stop sequences.
#[derive(Debug)]
pub(super) struct StopMatcher {
    sequences: StopSequences,
    states: Vec<usize>,
}

/// What is known after a piece has been read. Lengths count from the end of the bytes read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No match; the last `held` bytes may be the beginning of one.
    Nothing {
        /// How many bytes must wait for what follows.
        held: usize,
    },
    /// A match ended inside the piece.
    Match {
        /// From the match's first byte to the end of the piece, in bytes.
        from_end: usize,
        /// Which sequence it was.
        sequence: u8,
    },
}

impl StopMatcher {
    /// Starts at the beginning of a text.
    pub(super) fn new(sequences: StopSequences) -> Self {
        let states = vec![0; sequences.0.len()];
        Self { sequences, states }
    }

    /// Forgets what may have begun: the text is interrupted.
    pub(super) fn reset(&mut self) {
        self.states.fill(0);
    }

    /// Reads on. Of several matches the one that ends first counts, of those the longest.
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
