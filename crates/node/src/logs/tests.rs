use super::*;
use dockless_model::{OsEntropy, Timestamp};
use std::fs::File;
use std::io::Write as _;

fn origin(deployment: &DeploymentId, function: &str) -> Arc<Origin> {
    Arc::new(Origin { deployment: deployment.clone(), function: function.parse().unwrap(), instance: None })
}

fn entry(origin: &Arc<Origin>, text: impl Into<String>) -> Entry {
    let (source, level) = (Source::Stdout, Level::Info);
    Entry { origin: origin.clone(), at: Timestamp(1), request: None, source, level, text: text.into() }
}

fn shown(tail: &Tail) -> Vec<(u64, &str)> {
    tail.lines.iter().map(|line| (line.id, line.text.as_str())).collect()
}

#[tokio::test]
async fn lines_of_all_functions_come_in_the_order_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path().join("logs")).unwrap();
    let deployment = DeploymentId::random(&OsEntropy);
    let (date, user) = (origin(&deployment, "api/date"), origin(&deployment, "api/user/[id]"));
    for (origin, text) in [(&date, "one"), (&user, "two"), (&date, "three")] {
        logs.append(entry(origin, text));
    }
    let tail = logs.tail(&deployment, 10, None).await.unwrap();
    assert_eq!(shown(&tail), [(1, "one"), (2, "two"), (3, "three")]);
    assert_eq!(tail.dropped, 0);
    assert_eq!(shown(&logs.tail(&deployment, 1, None).await.unwrap()), [(3, "three")]);
    assert_eq!(shown(&logs.tail(&deployment, 10, Some(1)).await.unwrap()), [(2, "two"), (3, "three")]);
    let stranger = DeploymentId::random(&OsEntropy);
    assert!(logs.tail(&stranger, 10, None).await.unwrap().lines.is_empty());
}

#[tokio::test]
async fn the_newest_thousand_are_kept_and_the_rest_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path().to_owned()).unwrap();
    let deployment = DeploymentId::random(&OsEntropy);
    let (noisy, quiet) = (origin(&deployment, "api/noisy"), origin(&deployment, "api/quiet"));
    logs.append(entry(&quiet, "first"));
    for number in 0..2500 {
        logs.append_patiently(entry(&noisy, number.to_string())).await;
    }
    logs.append(entry(&quiet, "last"));
    let tail = logs.tail(&deployment, usize::MAX, None).await.unwrap();
    assert_eq!(tail.lines.len(), KEPT);
    assert_eq!(tail.dropped, 1502);
    assert_eq!(tail.lines.first().unwrap().text, "1501");
    assert_eq!(tail.lines.last().unwrap().text, "last");
    let bytes: u64 = std::fs::read_dir(folder.path().join(deployment.as_str()))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 400_000, "{bytes} bytes for 2,000 short lines");
}

#[tokio::test]
async fn numbers_go_on_after_a_restart_and_a_torn_line_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = DeploymentId::random(&OsEntropy);
    let date = origin(&deployment, "api/date");
    let logs = Logs::open(folder.path().to_owned()).unwrap();
    logs.append(entry(&date, "before"));
    logs.flush().await;
    drop(logs);
    let home = folder.path().join(deployment.as_str());
    let segment = std::fs::read_dir(&home)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "a"))
        .unwrap();
    File::options().append(true).open(&segment).unwrap().write_all(b"{\"id\":2,\"at\":5,\"te").unwrap();
    // A crash between the lines and the number that follows them.
    std::fs::write(home.join("sequence"), "").unwrap();

    let logs = Logs::open(folder.path().to_owned()).unwrap();
    assert_eq!(shown(&logs.tail(&deployment, 10, None).await.unwrap()), [(1, "before")]);
    logs.append(entry(&date, "after"));
    assert_eq!(shown(&logs.tail(&deployment, 10, None).await.unwrap()), [(1, "before"), (2, "after")]);
}

#[tokio::test]
async fn two_servers_share_a_folder_while_one_hands_over() {
    let folder = tempfile::tempdir().unwrap();
    let deployment = DeploymentId::random(&OsEntropy);
    let date = origin(&deployment, "api/date");
    let (old, new) = (Logs::open(folder.path().to_owned()).unwrap(), Logs::open(folder.path().to_owned()).unwrap());
    for round in 0..600 {
        for (logs, name) in [(&old, "old"), (&new, "new")] {
            logs.append(entry(&date, format!("{name} {round}")));
            if round % 100 == 0 {
                logs.flush().await;
            }
        }
    }
    old.flush().await;
    let tail = new.tail(&deployment, usize::MAX, None).await.unwrap();
    let ids: Vec<u64> = tail.lines.iter().map(|line| line.id).collect();
    assert_eq!(ids, (201..=1200).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_follower_sees_every_line_once_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path().to_owned()).unwrap();
    let deployment = DeploymentId::random(&OsEntropy);
    let date = origin(&deployment, "api/date");
    logs.append(entry(&date, "1"));
    let mut follow = logs.follow(&deployment, None).await.unwrap();
    logs.append(entry(&date, "2"));
    logs.append(entry(&date, "3"));
    for expected in ["1", "2", "3"] {
        let Some(Followed::Line(line)) = follow.next().await else { panic!("no line {expected}") };
        assert_eq!(line.text, expected);
    }
    logs.remove(&deployment).await.unwrap();
    assert!(follow.next().await.is_none());
    assert!(!folder.path().join(deployment.as_str()).exists());
    logs.append(entry(&date, "again"));
    assert_eq!(shown(&logs.tail(&deployment, 9, None).await.unwrap()), [(1, "again")]);
}
