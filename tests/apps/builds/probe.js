// Run as a build script: tries what a hostile package would, and writes what came of it where it is served.
const fs = require('node:fs');
const net = require('node:net');
const { spawn, spawnSync } = require('node:child_process');

const { data, port } = JSON.parse(fs.readFileSync('probe.json', 'utf8'));
const attempt = (act) => {
  try {
    return String(act() ?? 'done');
  } catch (error) {
    return error.code ?? error.message;
  }
};
const connect = (host, to) =>
  new Promise((resolve) => {
    const socket = net.connect({ host, port: to });
    socket.setTimeout(2000, () => resolve('timeout') ?? socket.destroy());
    socket.on('connect', () => resolve('connected') ?? socket.destroy());
    socket.on('error', (error) => resolve(error.code));
  });
const ask = (target) =>
  new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port: 3128 });
    let text = '';
    socket.on('data', (chunk) => (text += chunk));
    socket.on('error', (error) => resolve(error.code));
    socket.on('close', () => resolve(text.split('\r\n')[0]));
    socket.write(`CONNECT ${target} HTTP/1.1\r\n\r\n`);
  });

async function main() {
  const report = {
    user: process.getuid(),
    pids: fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length,
    pid1: attempt(() => process.kill(1, 'SIGKILL')),
    memory1: attempt(() => fs.readFileSync('/proc/1/mem').length),
    environ1: attempt(() => fs.readFileSync('/proc/1/environ', 'utf8').length),
    data: attempt(() => fs.readdirSync(data).join()),
    root: attempt(() => fs.readdirSync('/root').join()),
    home: attempt(() => fs.readdirSync('/home').join()),
    shadow: attempt(() => fs.readFileSync('/etc/shadow', 'utf8').length),
    npmrc: attempt(() => fs.readFileSync('/usr/etc/npmrc', 'utf8').length),
    usr: attempt(() => fs.writeFileSync('/usr/bin/dockless-was-here', 'x')),
    slash: attempt(() => fs.writeFileSync('/here', 'x')),
    runtime: attempt(() => fs.writeFileSync('/opt/dockless/runtime/usr/bin/node', 'x')),
    device: spawnSync('mknod', ['/work/app/sda', 'b', '8', '0']).status,
    mount: spawnSync('mount', ['-t', 'tmpfs', 'x', '/work/app/lib']).status,
    namespace: spawnSync('unshare', ['-Ur', 'true']).status,
    direct: await connect('127.0.0.1', port),
    outside: await connect('203.0.113.80', 443),
    metadata: await connect('169.254.169.254', 80),
    name: attempt(() => require('node:dns').lookup && 'asked'),
    proxied: {
      host: await ask(`127.0.0.1:${port}`),
      localhost: await ask(`localhost:${port}`),
      metadata: await ask('169.254.169.254:80'),
      stranger: await ask('example.com:443'),
      tunnel: await ask('registry.npmjs.org:22'),
    },
    environment: Object.keys(process.env).filter((name) => /TOKEN|SECRET|AWS|GIT|PIP/i.test(name)),
    others: attempt(() => [...fs.readdirSync('/work'), ...fs.readdirSync('/work/home'), ...fs.readdirSync('/tmp')].join()),
  };
  // For the next build to look for, and a process that would like to live on.
  fs.writeFileSync('/work/home/marker', 'x');
  fs.writeFileSync('/tmp/marker', 'x');
  spawn('sh', ['-c', 'exec sleep 87654'], { detached: true, stdio: 'ignore' }).unref();
  fs.mkdirSync('public', { recursive: true });
  spawnSync('mkfifo', ['public/pipe']);
  fs.symlinkSync('/etc/passwd', 'public/passwd');
  fs.symlinkSync('../probe.json', 'public/link.json');
  fs.writeFileSync('public/report.json', JSON.stringify(report));
}

main();
