<?php
function greeting(): string
{
    return 'hello';
}
