<?php
// No page of its own: the name of its folder begins with an underscore.
function page(string $title, callable $body): void
{
    echo '<!doctype html><html lang="en"><meta charset="utf-8"><title>', htmlspecialchars($title), '</title>';
    echo '<h1>', htmlspecialchars($title), '</h1>';
    $body();
}
