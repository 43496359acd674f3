<?php
$files = ['/proc/1/environ', '/proc/1/mem', '/proc/1/exe', '/proc/1/fd'];
$open = [];
foreach (scandir('/proc/self/fd') as $number) {
    $open[] = (string) @readlink("/proc/self/fd/$number");
}
$read = fn ($file) => is_dir($file) ? @scandir($file) !== false : @file_get_contents($file, false, null, 0, 1) !== false;
$ended = posix_kill(1, 9);
usleep(100_000);
echo json_encode([
    'read' => array_combine($files, array_map($read, $files)),
    'open' => $open,
    // Sent or not: pid 1 of a namespace is not ended from inside of it.
    'signalled' => $ended && !file_exists('/proc/1'),
    'uid' => posix_getuid(),
]);
