<?php
header('Content-Type: text/plain');
for ($number = 1; $number <= 3; $number += 1) {
    echo "piece $number\n";
    flush();
    usleep(300_000);
}
