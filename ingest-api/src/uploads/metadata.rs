//! What a client says of a file in `Upload-Metadata`: the video's first title, description,
//! tags and visibility.

use access::{FieldError, Problem};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use event_schemas::records::Visibility;

/// The longest header taken, in bytes.
pub const MAX_HEADER: usize = 16 << 10;
/// The longest title, in characters.
pub const MAX_TITLE: usize = 120;

/// The parsed header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// `filename`, or `name`.
    pub file_name: String,
    /// `title`, else the file's name without its extension.
    pub title: String,
    /// `description`.
    pub description: String,
    /// `tags`, separated by commas.
    pub tags: Vec<String>,
    /// `visibility`; private if absent, so that nothing is published by accident.
    pub visibility: Visibility,
}

fn pairs(header: &str) -> Result<Vec<(String, String)>, Problem> {
    let bad = |what: String| Problem::bad_request(format!("the `Upload-Metadata` header {what}"));
    if header.len() > MAX_HEADER {
        return Err(bad(format!("is longer than {MAX_HEADER} bytes")));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for entry in header.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (key, encoded) = entry.split_once(' ').unwrap_or((entry, ""));
        let bytes =
            STANDARD.decode(encoded.trim()).map_err(|_| bad(format!("has a value for `{key}` that is not base64")))?;
        let value = String::from_utf8(bytes).map_err(|_| bad(format!("has a value for `{key}` that is not UTF-8")))?;
        if pairs.iter().any(|(known, _)| known == key) {
            return Err(bad(format!("names `{key}` twice")));
        }
        pairs.push((key.to_owned(), value));
    }
    Ok(pairs)
}

/// Reads the header.
///
/// # Errors
/// 400 for a header that is not of the protocol's form, 422 for values a video can't have.
pub fn parse(header: &str) -> Result<Metadata, Problem> {
    let pairs = pairs(header)?;
    let get = |key: &str| pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    let file_name: String = get("filename").or_else(|| get("name")).unwrap_or_default().chars().take(255).collect();
    let stem = file_name.rsplit_once('.').map_or(file_name.as_str(), |(stem, _)| stem);
    let title = match get("title").map(str::trim).filter(|title| !title.is_empty()) {
        Some(title) => title.to_owned(),
        None if stem.trim().is_empty() => "Untitled".to_owned(),
        None => stem.trim().chars().take(MAX_TITLE).collect(),
    };
    let tags: Vec<String> = get("tags")
        .unwrap_or_default()
        .split(',')
        .map(|tag| tag.trim().to_owned())
        .filter(|tag| !tag.is_empty())
        .collect();
    let description = get("description").unwrap_or_default().to_owned();
    let mut errors = catalog::check_video_text(Some(&title), Some(&description), Some(&tags));
    let visibility = match get("visibility").filter(|text| !text.is_empty()) {
        None => Visibility::Private,
        Some(text) => Visibility::parse(text).unwrap_or_else(|| {
            errors.push(("visibility", "public, unlisted or private".to_owned()));
            Visibility::Private
        }),
    };
    if !errors.is_empty() {
        let errors = errors
            .into_iter()
            .map(|(field, message)| FieldError { field: format!("Upload-Metadata.{field}"), message })
            .collect();
        return Err(Problem::invalid(errors));
    }
    Ok(Metadata { file_name, title, description, tags, visibility })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pairs: &[(&str, &str)]) -> String {
        pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_title_is_found_somewhere() {
        assert_eq!(parse("").unwrap().title, "Untitled");
        assert_eq!(parse(&header(&[("filename", "My holiday.2.mp4")])).unwrap().title, "My holiday.2");
        let all =
            parse(&header(&[("filename", "a.mp4"), ("title", "A"), ("tags", "x, y,,"), ("visibility", "public")]));
        let all = all.unwrap();
        assert_eq!((all.title.as_str(), all.tags.len(), all.visibility), ("A", 2, Visibility::Public));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("filename !!!".to_owned(), "not base64"),
            (header(&[("title", "a"), ("title", "b")]), "twice"),
            (header(&[("visibility", "secret")]), "public, unlisted or private"),
            (header(&[("title", &"t".repeat(121))]), "title"),
            ("x".repeat(MAX_HEADER + 1), "longer"),
        ] {
            let problem = parse(&text).unwrap_err();
            assert!(problem.detail.contains(part), "{}", problem.detail);
        }
    }
}
