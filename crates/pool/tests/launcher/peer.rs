//! The warden's side of the channel without its sandboxes: launchers run as plain processes that see their code at
//! /var/task (in a mount namespace of their own), and the freezer is a file that stops nobody. What sandboxes do is
//! tested with the real warden, as a user.

use dockless_model::{Digest, InstanceId, MemoryMib, RuntimeId};
use dockless_sandbox::bundle::TreeManifest;
use dockless_sandbox::protocol::{
    Answer, Event, ExitStatus, FreezerKind, FromWarden, Happening, Listed, MAX_MESSAGE, Origin, Prepared, Refusal,
    Reply, Request, Runtime, Usage, Verb, Welcome, Work,
};
use dockless_sys::seqpacket;
use rustix::event::{PollFd, PollFlags};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// The peer; clones share it.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Mutex<State>>);

struct State {
    folder: PathBuf,
    sandboxes: HashMap<InstanceId, Sandbox>,
    sessions: Vec<Arc<OwnedFd>>,
    groups: HashMap<String, u32>,
    seq: u64,
    prepared: Vec<BTreeMap<String, String>>,
    /// The test is over: nothing is launched any more.
    is_closed: bool,
}

struct Sandbox {
    listed: Listed,
    socket: String,
    fds: [OwnedFd; 5],
    groups: Vec<String>,
    process: rustix::process::Pid,
}

pub(crate) fn runtime() -> RuntimeId {
    RuntimeId::compose("node", "20.0.0", &Digest::of(b"runtime")).unwrap()
}

impl Peer {
    pub(crate) fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(folder.join("trees")).unwrap();
        let (sandboxes, groups) = (HashMap::new(), HashMap::new());
        let state =
            State { folder, sandboxes, sessions: Vec::new(), groups, seq: 0, prepared: Vec::new(), is_closed: false };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A session's channel; its thread ends with it.
    pub(crate) fn connect(&self) -> OwnedFd {
        let (near, far) = seqpacket::pair().unwrap();
        let far = Arc::new(far);
        let session = {
            let mut state = self.0.lock().unwrap();
            state.sessions.push(far.clone());
            u64::try_from(state.sessions.len()).unwrap()
        };
        let peer = self.clone();
        std::thread::spawn(move || peer.serve(session, &far));
        near
    }

    /// Process-start environments of all sandboxes so far.
    pub(crate) fn prepared(&self) -> Vec<BTreeMap<String, String>> {
        self.0.lock().unwrap().prepared.clone()
    }

    /// What the freezer of an instance was told.
    pub(crate) fn freezer(&self, id: &InstanceId) -> String {
        std::fs::read_to_string(self.0.lock().unwrap().folder.join(format!("{id}.freezer"))).unwrap()
    }

    /// Kills a process behind everybody's back.
    pub(crate) fn murder(&self, id: &InstanceId) {
        let process = self.0.lock().unwrap().sandboxes[id].process;
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    }

    /// Ends every process, so that none outlives its test.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.is_closed = true;
        for sandbox in state.sandboxes.values() {
            // One that has just ended needs no killing.
            let _ = rustix::process::kill_process(sandbox.process, rustix::process::Signal::KILL);
        }
    }

    pub(crate) fn tell(&self, session: usize, what: Happening) {
        let mut state = self.0.lock().unwrap();
        state.seq += 1;
        let event = FromWarden::Event(Event { seq: state.seq, what });
        // A session that is gone hears nothing.
        let _ = seqpacket::send(state.sessions[session - 1].as_fd(), &serde_json::to_vec(&event).unwrap(), &[]);
    }

    fn serve(&self, session: u64, channel: &OwnedFd) {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            rustix::event::poll(&mut [PollFd::new(channel, PollFlags::IN)], None).unwrap();
            let (length, fds) = match seqpacket::receive(channel.as_fd(), &mut buffer) {
                Ok((0, _)) | Err(_) => return,
                Ok(received) => received,
            };
            let request: Request = serde_json::from_slice(&buffer[..length]).unwrap();
            let (result, fds) = match self.answer(session, request.verb, fds) {
                Ok((answer, fds)) => (Ok(answer), fds),
                Err(refusal) => (Err(refusal), Vec::new()),
            };
            let reply = serde_json::to_vec(&FromWarden::Reply(Reply { id: request.id, result })).unwrap();
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(OwnedFd::as_fd).collect();
            let _ = seqpacket::send(channel.as_fd(), &reply, &fds);
        }
    }

    fn answer(&self, session: u64, verb: Verb, fds: Vec<OwnedFd>) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        let mut state = self.0.lock().unwrap();
        let done = Ok((Answer::Done, Vec::new()));
        match verb {
            Verb::Hello { .. } => {
                let runtimes = vec![Runtime { id: runtime(), tree: Digest::of(b"runtime"), current: true }];
                let succeeds = session > 1;
                let (cgroup_layout, freezer) = ("v1".into(), FreezerKind::V1);
                let welcome = Welcome { version: 1, session, succeeds, runtimes, cgroup_layout, freezer };
                Ok((Answer::Welcome(Box::new(welcome)), Vec::new()))
            }
            Verb::Import => {
                let [manifest, contents] = <[OwnedFd; 2]>::try_from(fds).unwrap();
                let manifest: TreeManifest = serde_json::from_reader(File::from(manifest)).unwrap();
                let (tree, mut contents) = (manifest.digest(), File::from(contents));
                let root = state.folder.join("trees").join(tree.to_string());
                for (path, file) in &manifest.files {
                    let path = root.join(path.as_str());
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    let mut bytes = vec![0; usize::try_from(file.size).unwrap()];
                    contents.read_exact(&mut bytes).unwrap();
                    assert_eq!(Digest::of(&bytes), file.digest);
                    std::fs::write(path, bytes).unwrap();
                }
                Ok((Answer::Imported { tree }, Vec::new()))
            }
            Verb::Prepare { .. } if state.is_closed => Err(Refusal::NoRoom("the test is over".into())),
            Verb::Prepare { instance, runtime, memory, env } => {
                state.prepared.push(env.clone());
                let sandbox = self.launch(&mut state, &instance, runtime, memory, &env, session);
                let answer = describe(&sandbox);
                state.sandboxes.insert(instance, sandbox);
                answer
            }
            Verb::Go { instance, work, groups, tag, .. } => {
                let Work::Bundle(code) = work else { return Err(Refusal::Bad("a function needs code".into())) };
                let tree = state.folder.join("trees").join(code.to_string());
                if !tree.exists() {
                    return Err(Refusal::Unknown(format!("tree {code}")));
                }
                for group in &groups {
                    if *state.groups.entry(group.name.clone()).or_default() >= group.max {
                        return Err(Refusal::CapReached(group.name.clone()));
                    }
                }
                let missing = || Refusal::Unknown(instance.to_string());
                let home = state.folder.join(instance.as_str());
                let sandbox = state.sandboxes.get_mut(&instance).ok_or_else(missing)?;
                let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
                (sandbox.groups, sandbox.listed.gone, sandbox.listed.tag) = (names.clone(), true, tag);
                // The process sees its task folder through this link.
                std::os::unix::fs::symlink(tree, home).unwrap();
                for name in names {
                    *state.groups.entry(name).or_default() += 1;
                }
                done
            }
            Verb::Kill { instance } => {
                if let Some(sandbox) = state.sandboxes.get(&instance) {
                    rustix::process::kill_process(sandbox.process, rustix::process::Signal::KILL).unwrap();
                }
                done
            }
            Verb::List => {
                let folder = state.folder.clone();
                let listed = |sandbox: &Sandbox| {
                    let mut listed = sandbox.listed.clone();
                    let freezer = folder.join(format!("{}.freezer", listed.instance));
                    listed.frozen = std::fs::read_to_string(freezer).unwrap() == "FROZEN";
                    listed
                };
                Ok((Answer::Instances { instances: state.sandboxes.values().map(listed).collect() }, Vec::new()))
            }
            Verb::Adopt { instance } => {
                let sandbox = state.sandboxes.get_mut(&instance).ok_or(Refusal::Unknown("instance".into()))?;
                if sandbox.listed.session.replace(session).is_some() {
                    return Err(Refusal::InUse("instance".into()));
                }
                describe(sandbox)
            }
            Verb::Release { instance } => {
                if let Some(sandbox) = state.sandboxes.get_mut(&instance) {
                    sandbox.listed.session = None;
                }
                drop(state);
                self.tell(usize::try_from(session + 1).unwrap(), Happening::Released { instance });
                done
            }
            Verb::Stats { .. } => Ok((Answer::Usage(Usage { memory_bytes: 7, ..Usage::default() }), Vec::new())),
            Verb::PrepareService { .. }
            | Verb::Dial { .. }
            | Verb::Throttle { .. }
            | Verb::Build { .. }
            | Verb::Stored { .. }
            | Verb::EndBuild { .. }
            | Verb::KeepStores { .. }
            | Verb::At { .. }
            | Verb::Cut { .. }
            | Verb::Unpack { .. }
            | Verb::ForgetLayer { .. } => Err(Refusal::Unsupported("this peer has functions alone".into())),
            Verb::Serving
            | Verb::Forget { .. }
            | Verb::Acknowledge { .. }
            | Verb::OpenFiles
            | Verb::Gateway
            | Verb::Upgrade => done,
        }
    }

    fn launch(
        &self,
        state: &mut State,
        instance: &InstanceId,
        runtime: RuntimeId,
        memory: MemoryMib,
        env: &BTreeMap<String, String>,
        session: u64,
    ) -> Sandbox {
        let socket = state.folder.join(format!("{instance}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (stdout, writer) = std::io::pipe().unwrap();
        let (stderr, unused) = std::io::pipe().unwrap();
        drop(unused);
        let freezer = state.folder.join(format!("{instance}.freezer"));
        std::fs::write(&freezer, "THAWED").unwrap();
        let freezer = || OwnedFd::from(File::options().read(true).write(true).open(&freezer).unwrap());
        let launcher = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/runtimes/nodejs/launcher.cjs");
        // `go` comes later than the mounts: /var/task is a link to a link that it makes.
        let script = "mount -t tmpfs none /var && ln -s \"$0\" /var/task && exec node \"$1\" 3<&0 4>&1 </dev/null >&2";
        let home = state.folder.join(instance.as_str());
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .args([home.as_os_str(), launcher.as_ref()])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .envs(env)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::from(OwnedFd::from(far)))
            .stderr(Stdio::from(OwnedFd::from(writer)))
            .spawn()
            .unwrap();
        let pid = child.id();
        let (peer, id) = (self.clone(), instance.clone());
        std::thread::spawn(move || {
            let status = child.wait().unwrap();
            let status = match (status.code(), status.signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (None, signal) => ExitStatus::Signal(signal.unwrap()),
            };
            peer.buried(&id, status);
        });
        let (fds, instance) = ([near.into(), stdout.into(), stderr.into(), freezer(), freezer()], instance.clone());
        let (gone, tag, session, frozen) = (false, String::new(), Some(session), false);
        let origin = Origin::Runtime { runtime, memory };
        Sandbox {
            listed: Listed { instance, origin, pid, gone, tag, session, frozen },
            socket: socket.to_str().unwrap().into(),
            fds,
            groups: Vec::new(),
            process: rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        }
    }

    fn buried(&self, id: &InstanceId, status: ExitStatus) {
        let Some(sandbox) = ({
            let mut state = self.0.lock().unwrap();
            let sandbox = state.sandboxes.remove(id);
            for name in sandbox.iter().flat_map(|sandbox| &sandbox.groups) {
                *state.groups.get_mut(name).unwrap() -= 1;
            }
            sandbox
        }) else {
            return;
        };
        let usage = Usage::default();
        let (instance, tag) = (id.clone(), sandbox.listed.tag);
        let session = usize::try_from(sandbox.listed.session.unwrap_or(1)).unwrap();
        self.tell(session, Happening::Exited { instance, tag, status, usage });
    }
}

fn describe(sandbox: &Sandbox) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
    let fds = sandbox.fds.iter().map(|fd| fd.try_clone().unwrap()).collect();
    Ok((Answer::Prepared(Prepared { pid: sandbox.listed.pid, socket: sandbox.socket.clone(), address: None }), fds))
}
