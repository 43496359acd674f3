// Calls the system for what no function may have. One line for each: its name and errno, 0 if it was allowed.
//
// Some of these calls do lasting harm to a machine that allows them, so it runs nowhere but in a sandbox.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

// In a process of its own: a call that kills must not hide those after it.
#define TRY(name, call)                                              \
  do {                                                               \
    fflush(stdout);                                                  \
    pid_t child = fork();                                            \
    if (child == 0) {                                                \
      errno = 0;                                                     \
      long result = (long)(call);                                    \
      printf("%s %d\n", name, result == -1 ? errno : 0);             \
      fflush(stdout);                                                \
      _exit(0);                                                      \
    }                                                                \
    int status;                                                      \
    waitpid(child, &status, 0);                                      \
    if (WIFSIGNALED(status)) printf("%s %d\n", name, 1000 + WTERMSIG(status)); \
  } while (0)

static char buffer[4096];
static struct timeval now;

int main(void) {
  if (!is_confined()) {
    fputs("forbidden: this is no sandbox\n", stderr);
    return 99;
  }
  gettimeofday(&now, NULL);
  struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
  struct rlimit many = {1 << 20, 1 << 20};
  struct { unsigned flags[15]; unsigned long long more[16]; } params = {0};
  TRY("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
  TRY("mount_bind", mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL));
  TRY("remount", mount(NULL, "/var/task", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY("umount", umount2("/proc", MNT_DETACH));
  TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
  TRY("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
  TRY("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/var", 0));
  TRY("pivot_root", syscall(SYS_pivot_root, ".", "."));
  TRY("chroot", chroot("/tmp"));
  TRY("unshare_user", unshare(CLONE_NEWUSER));
  TRY("unshare_mount", unshare(CLONE_NEWNS));
  TRY("unshare_net", unshare(CLONE_NEWNET));
  TRY("unshare_pid", unshare(CLONE_NEWPID));
  TRY("clone_user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
  TRY("clone_net", syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0));
  TRY("clone3", syscall(SYS_clone3, buffer, 64));
  TRY("setns", syscall(SYS_setns, open("/proc/self/ns/net", O_RDONLY), 0));
  TRY("ptrace_attach", ptrace(PTRACE_ATTACH, getppid(), 0, 0));
  TRY("ptrace_traceme", ptrace(PTRACE_TRACEME, 0, 0, 0));
  TRY("process_vm_readv", syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
  TRY("process_vm_writev", syscall(SYS_process_vm_writev, getppid(), NULL, 0, NULL, 0, 0));
  TRY("pidfd_getfd", syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getppid(), 0), 3, 0));
  TRY("kcmp", syscall(SYS_kcmp, getpid(), getppid(), 0, 0, 0));
  TRY("bpf", syscall(SYS_bpf, 0, buffer, 64));
  TRY("perf_event_open", syscall(SYS_perf_event_open, buffer, 0, -1, -1, 0));
  TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
  TRY("io_uring_setup", syscall(SYS_io_uring_setup, 8, &params));
  TRY("keyctl", syscall(SYS_keyctl, 0, -3, 1));
  TRY("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
  TRY("request_key", syscall(SYS_request_key, "user", "x", NULL, 0));
  TRY("init_module", syscall(SYS_init_module, buffer, 64, ""));
  TRY("finit_module", syscall(SYS_finit_module, 0, "", 0));
  TRY("delete_module", syscall(SYS_delete_module, "x", 0));
  TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
  TRY("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
  TRY("swapon", syscall(SYS_swapon, "/tmp/x", 0));
  TRY("acct", syscall(SYS_acct, "/tmp/x"));
  TRY("quotactl", syscall(SYS_quotactl, 0, NULL, 0, NULL));
  TRY("syslog", syscall(SYS_syslog, 3, buffer, sizeof buffer));
  TRY("settimeofday", settimeofday(&now, NULL));
  TRY("clock_settime", syscall(SYS_clock_settime, 0, buffer));
  TRY("adjtimex", syscall(SYS_adjtimex, buffer));
  TRY("sethostname", sethostname("evil", 4));
  TRY("setdomainname", setdomainname("evil", 4));
  TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, O_RDONLY));
  TRY("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/", buffer, buffer + 64, 0));
  TRY("mknod_device", syscall(SYS_mknodat, AT_FDCWD, "/tmp/sda", 0060600, (8 << 8) | 0));
  TRY("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
  TRY("move_pages", syscall(SYS_move_pages, getppid(), 0, NULL, NULL, NULL, 0));
  TRY("mbind", syscall(SYS_mbind, 0, 0, 0, NULL, 0, 0));
  TRY("vhangup", syscall(SYS_vhangup));
#ifdef SYS_iopl
  TRY("iopl", syscall(SYS_iopl, 3));
  TRY("ioperm", syscall(SYS_ioperm, 0x70, 1, 1));
  TRY("modify_ldt", syscall(SYS_modify_ldt, 1, buffer, 16));
#endif
  TRY("setuid_root", setuid(0));
  TRY("setgid_root", setgid(0));
  TRY("rlimit_nofile", setrlimit(RLIMIT_NOFILE, &many));
  TRY("rlimit_core", setrlimit(RLIMIT_CORE, &most));
  TRY("rlimit_memlock", setrlimit(RLIMIT_MEMLOCK, &most));
  TRY("nice", setpriority(PRIO_PROCESS, 0, -10));
  TRY("packet_socket", socket(AF_PACKET, SOCK_RAW, 0));
  TRY("raw_socket", socket(AF_INET, SOCK_RAW, 1));
  TRY("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  TRY("alg_socket", socket(AF_ALG, SOCK_SEQPACKET, 0));
  TRY("tiocsti", syscall(SYS_ioctl, 0, 0x5412, buffer));
  TRY("above_the_table", syscall(9999));
  return 0;
}
