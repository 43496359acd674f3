<?php
require __DIR__ . '/_lib/greeting.php';
header('X-Greeting: ' . greeting());
setcookie('a', '1');
setcookie('b', '2');
http_response_code(isset($_GET['code']) ? (int) $_GET['code'] : 200);
echo json_encode([
    'method' => $_SERVER['REQUEST_METHOD'],
    'uri' => $_SERVER['REQUEST_URI'],
    'query' => $_GET,
    'post' => $_POST,
    'cookies' => $_COOKIE,
    'files' => array_map(fn ($file) => $file['size'], $_FILES),
    'host' => $_SERVER['HTTP_HOST'],
    'https' => $_SERVER['HTTPS'] ?? null,
    'remote' => $_SERVER['REMOTE_ADDR'],
    'self' => $_SERVER['PHP_SELF'],
    'root' => $_SERVER['DOCUMENT_ROOT'],
    'file' => __FILE__,
    'proxy' => getenv('HTTP_PROXY'),
    'internal' => array_values(array_filter(array_keys($_SERVER), fn ($name) => str_contains($name, 'INTERNAL'))),
    'env' => getenv('GREETING'),
    'id' => getmypid(),
    'modules' => array_map('extension_loaded', ['json', 'openssl', 'pdo', 'Zend OPcache']),
    'memory' => ini_get('memory_limit'),
    'uid' => posix_getuid(),
]);
