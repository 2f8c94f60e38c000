//! The limits of what people write about a video; checked by every way in (upload metadata and
//! edits) before it reaches the catalog.

/// The longest title, in characters.
pub const MAX_TITLE: usize = 120;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 5000;
/// The most tags.
pub const MAX_TAGS: usize = 20;
/// The longest tag, in characters.
pub const MAX_TAG: usize = 40;

/// What is wrong with a title, description or tags: the field and what would be right. What is
/// none is not checked.
#[must_use]
pub fn check_video_text(
    title: Option<&str>,
    description: Option<&str>,
    tags: Option<&[String]>,
) -> Vec<(&'static str, String)> {
    let mut errors = Vec::new();
    let has_control = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' && c != '\r' && c != '\t');
    if let Some(title) = title
        && (title.trim().is_empty() || title.chars().count() > MAX_TITLE || title.chars().any(char::is_control))
    {
        errors.push(("title", format!("1 to {MAX_TITLE} characters on one line")));
    }
    if let Some(description) = description
        && (description.chars().count() > MAX_DESCRIPTION || has_control(description))
    {
        errors.push(("description", format!("at most {MAX_DESCRIPTION} characters of text")));
    }
    if let Some(tags) = tags {
        let bad = |tag: &String| {
            tag.trim().is_empty()
                || tag.chars().count() > MAX_TAG
                || tag.contains(',')
                || tag.chars().any(char::is_control)
        };
        if tags.len() > MAX_TAGS || tags.iter().any(bad) {
            errors.push(("tags", format!("at most {MAX_TAGS} tags of 1 to {MAX_TAG} characters without commas")));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_told() {
        assert_eq!(check_video_text(Some("A title"), Some("Two\nlines"), Some(&["tag".to_owned()])), []);
        assert_eq!(check_video_text(None, None, None), []);
        let errors =
            check_video_text(Some("two\nlines"), Some(&"x".repeat(MAX_DESCRIPTION + 1)), Some(&["a,b".to_owned()]));
        assert_eq!(errors.iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["title", "description", "tags"]);
        assert_eq!(check_video_text(Some(" "), None, Some(&vec!["t".to_owned(); MAX_TAGS + 1])).len(), 2);
    }
}
