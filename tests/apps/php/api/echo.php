<?php
header('Content-Type: application/octet-stream');
$input = fopen('php://input', 'rb');
while (!feof($input)) {
    echo fread($input, 65536);
}
