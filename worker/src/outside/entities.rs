//! The names that HTML has for characters: those of ASCII and of Latin-1.

/// Names of characters of ASCII.
const ASCII: [(&str, char); 41] = [
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("excl", '!'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("amp", '&'),
    ("AMP", '&'),
    ("apos", '\''),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("lt", '<'),
    ("LT", '<'),
    ("equals", '='),
    ("gt", '>'),
    ("GT", '>'),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
];
/// Names of the characters from U+00A0 to U+00FF, in their order.
const LATIN: &str = "\
nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo \
not shy reg macr deg plusmn sup2 sup3 acute micro para middot \
cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde \
Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml \
ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc \
Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil \
egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute \
ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";
/// The first of them.
const LATIN_FIRST: u32 = 0xa0;

/// The names of a character, without `&` and `;`.
pub(super) fn names(character: char) -> impl Iterator<Item = &'static str> {
    let ascii = ASCII.iter().filter(move |(_, named)| *named == character).map(|(name, _)| *name);
    let place = u32::from(character).checked_sub(LATIN_FIRST).and_then(|place| usize::try_from(place).ok());
    ascii.chain(place.and_then(|place| LATIN.split_whitespace().nth(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_the_names_of_html() {
        for (character, name) in [('&', "amp"), ('<', "lt"), ('\u{a0}', "nbsp"), ('ß', "szlig"), ('ÿ', "yuml")] {
            assert!(names(character).any(|known| known == name), "{name}");
        }
        assert_eq!((names('a').count(), names('Ā').count()), (0, 0));
    }
}
