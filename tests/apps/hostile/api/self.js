// Who and where this process is.
const fs = require('node:fs');

module.exports = (req, res) => {
  const processes = fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
  res.json({
    uid: process.getuid(),
    gid: process.getgid(),
    groups: process.getgroups(),
    cwd: process.cwd(),
    env: process.env,
    processes: processes.map((pid) => [pid, read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()]),
    status: read('/proc/self/status'),
    fds: fs.readdirSync('/proc/self/fd').map((fd) => [fd, link(`/proc/self/fd/${fd}`)]),
    interfaces: Object.keys(require('node:os').networkInterfaces()),
  });
};

function read(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    return error.code;
  }
}

function link(file) {
  try {
    return fs.readlinkSync(file);
  } catch (error) {
    return error.code;
  }
}
