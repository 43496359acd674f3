<?php
require '_lib/page.php';

if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    header('Location: /', true, 303);
    exit;
}
page('Hello', function () { ?>
  <p>Hello <?= htmlspecialchars($_POST['name'] ?? 'stranger') ?>.</p>
<?php });
