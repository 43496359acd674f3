<!doctype html>
<title>Contact</title>
<p>It is <?= htmlspecialchars(gmdate('H:i')) ?> here, <?= htmlspecialchars($_GET['name'] ?? 'stranger') ?>.</p>
