<?php
// Run once before anybody knows whose function this will be: what a script does first costs most.
header('Content-Type: application/json');
echo json_encode(['time' => date(DATE_ATOM), 'query' => $_GET, 'server' => count($_SERVER), 'text' => htmlspecialchars('<')]);
