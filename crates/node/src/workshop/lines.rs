//! What a command says, cut into lines.

use std::os::fd::OwnedFd;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// A longer line is cut; the log cuts again where it must.
const MAX_LINE: usize = 8 * 1024;
/// Bytes of one command that are read into lines; the rest is read and forgotten.
const MAX_SAID: usize = 16 * 1024 * 1024;

/// Reads until every writer is gone.
pub(crate) async fn read(pipe: OwnedFd, mut line: impl FnMut(&str)) -> std::io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    let mut buffer = vec![0; 32 * 1024];
    let mut rest: Vec<u8> = Vec::new();
    let mut said = 0;
    loop {
        let length = pipe.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        if said > MAX_SAID {
            continue;
        }
        said += length;
        for byte in &buffer[..length] {
            if *byte == b'\n' {
                line(clean(&rest).trim_end());
                rest.clear();
            } else {
                if rest.len() == MAX_LINE {
                    line(&clean(&rest));
                    rest.clear();
                }
                rest.push(*byte);
            }
        }
        if said > MAX_SAID {
            line("(this command says too much: the rest is not kept)");
        }
    }
    if !rest.is_empty() {
        line(clean(&rest).trim_end());
    }
    Ok(())
}

/// Text without what a terminal would obey: colours and cursor movements are for the one who ran it, not for a log.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // A control sequence ends with a letter (ECMA-48); others are two characters.
                if chars.next_if_eq(&'[').is_some() {
                    while chars.next_if(|c| !('\u{40}'..='\u{7e}').contains(c)).is_some() {}
                }
                chars.next();
            }
            // Only the last state of a line that was drawn over counts.
            '\r' if chars.peek().is_some() => clean.clear(),
            '\t' => clean.push('\t'),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[tokio::test]
    async fn lines_are_cut_cleaned_and_complete() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let text = format!("one\n\u{1b}[32mgreen\u{1b}[0m\r\n10%\r100%\n{}\nlast", "x".repeat(MAX_LINE + 5));
        let thread = std::thread::spawn(move || writer.write_all(text.as_bytes()).unwrap());
        let mut lines = Vec::new();
        read(reader.into(), |line| lines.push(line.to_owned())).await.unwrap();
        thread.join().unwrap();
        assert_eq!(lines[..3], ["one", "green", "100%"]);
        assert_eq!((lines[3].len(), lines[4].len(), lines[5].as_str()), (MAX_LINE, 5, "last"));
    }
}
