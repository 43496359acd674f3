<?php
// Every way to fail.
switch ($_GET['how']) {
    case 'throw':
        throw new RuntimeException('the secret reason');
    case 'late':
        echo 'some';
        flush();
        usleep(300_000);
        throw new RuntimeException('too late to say so');
    case 'undefined':
        echo $nothing;
        echo 'a warning is no failure';
        break;
    case 'exit':
        echo 'said before the exit';
        exit(3);
    case 'kill':
        posix_kill(getmypid(), 9);
        break;
    case 'eat':
        $eaten = str_repeat('x', 4 << 30);
        echo strlen($eaten);
        break;
}
