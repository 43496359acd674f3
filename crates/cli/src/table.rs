//! Rows as text.

/// Lines of a table: aligned, with a heading, for people; tab-separated, without, for programs.
pub(crate) fn lines<const N: usize>(heading: [&str; N], rows: &[[String; N]], for_people: bool) -> Vec<String> {
    if !for_people {
        return rows.iter().map(|row| row.join("\t")).collect();
    }
    let heading = heading.map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    all()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_columns_and_programs_get_tabs() {
        let rows = [["a".to_owned(), "ready".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(lines(["NAME", "STATE"], &rows, true), ["NAME    STATE", "a       ready", "longer"]);
        assert_eq!(lines(["NAME", "STATE"], &rows, false), ["a\tready", "longer\t"]);
    }
}
