<?php
header('Content-Type: text/plain');
echo date(DATE_ATOM), "\n";
